"""Attacks by the real load generator on servers that answer well, badly, slowly or not at all.

Locust changes sockets and threads of its process, so it runs in one of its own, as always.
"""

import itertools
import statistics
from dataclasses import replace

import pytest

from loadtest.attack import attack
from loadtest.levels import Gate, Load, Profile
from loadtest.plan import SECRET_VARIABLE
from loadtest.questions import Size
from loadtest.sla import judge
from loadtest.target import stack
from tests.sla_server import DELAY_S, SECRET, FakeQuarry, serving

pytestmark = pytest.mark.enable_socket

_GATE = Gate(p50_ms=DELAY_S * 950, p95_ms=5000, p99_ms=5000, requests=1, rate=0.5)
_SLOW_GATE = replace(_GATE, p50_ms=5000)
_KINDS = ("words", "identifier", "filter", "lexical", "symbol", "semantic", "exact")
_CHANGES = ("POST /v1/repos", "GET /v1/jobs/{id}", "search for index", "index to found")
_PUSHES = ("POST /v1/webhooks/github", "search for push", "push to found")
_NONE = Load(0, 0.0)
_PROFILE = Profile(
    target="stack",
    name="test",
    corpus=Size(repos=2, files=40, mean_bytes=900),
    warm_up_s=0.5,
    window_s=2.0,
    search=Load(20, 2.0),
    index=Load(1, 2.0),
    push=Load(2, 1.0),
    gates=dict.fromkeys([f"search {kind}" for kind in _KINDS], _GATE) | dict.fromkeys(_CHANGES + _PUSHES, _SLOW_GATE),
)

_SEARCHING = replace(
    _PROFILE, search=Load(10, 2.0), index=_NONE, push=_NONE, gates={f"search {kind}": _SLOW_GATE for kind in _KINDS}
)


def _attack(fake, profile, folder):
    with serving(fake) as url, stack(profile, folder, url) as plan:
        return judge(attack(plan, folder), profile.gates, profile.offered())


def test_right_answers_in_time_are_held_at_the_offered_rate_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    fake = FakeQuarry()

    verdict = _attack(fake, _PROFILE, tmp_path)

    assert verdict.problems == ()
    searches = [entry.achieved_per_s for entry in verdict.entries if entry.name.removeprefix("search ") in _KINDS]
    assert sum(searches) == pytest.approx(40, rel=0.1)
    assert len(set(fake.signed)) == 2
    assert fake.repos == {}


def test_requests_are_spread_evenly_over_time(tmp_path):
    with serving(FakeQuarry()) as url, stack(_SEARCHING, tmp_path, url) as plan:
        started = sorted(sample.started_at for sample in attack(plan, tmp_path).samples)

    gaps = [after - before for before, after in itertools.pairwise(started)]

    # 20 a second; users that went in step would have gaps near 0.
    assert statistics.median(gaps) == pytest.approx(0.05, rel=0.5)


def test_a_fast_wrong_answer_is_not_held_nor_is_a_right_one_that_is_late(tmp_path, monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, "another secret")
    faults = {"hybrid": "slow", "lexical": "wrong", "symbol": "odd", "semantic": "lost", "exact": "refusing"}

    verdict = _attack(FakeQuarry(faults, stale=True), _PROFILE, tmp_path)

    said = "\n".join(verdict.problems)
    assert "search words: p50_ms 1" in said
    assert "search lexical: a text that the file does not have there" in said
    assert 'search symbol: hits/0: "score" is a required property' in said
    assert "search semantic: missed 1, at most 0" in said
    assert "search exact: status 503 instead of 200" in said
    assert "index to found: what was indexed is not found" in said
    assert "push to found: status 401 instead of 202" in said
    assert "rate" not in next(problem for problem in verdict.problems if "search words" in problem)


def test_a_rate_that_is_not_achieved_is_not_held(tmp_path):
    verdict = _attack(FakeQuarry({"hybrid": "serial"}), _SEARCHING, tmp_path)

    assert any(problem.startswith("search words: rate 0.") for problem in verdict.problems), verdict.problems


def test_an_idle_run_is_not_held(tmp_path):
    # Its one request falls into the time that is not counted.
    verdict = _attack(FakeQuarry(), replace(_SEARCHING, search=Load(1, 0.001)), tmp_path)

    assert "nothing was asked" in verdict.problems[0]
