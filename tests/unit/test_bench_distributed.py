"""The benchmarks of the distributed mode: CPU time by process, requests at a constant rate, figures, the table."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from benchmarks.distributed import overhead, search, webhook
from benchmarks.distributed.cpu import cpu_s, difference
from benchmarks.distributed.overhead import Pair
from benchmarks.distributed.pace import Answer, paced
from benchmarks.distributed.report import LINES, render
from benchmarks.speed.measure import MeasurementError
from benchmarks.speed.queries import Query
from benchmarks.speed.records import Record
from loadtest.attack import attack
from loadtest.levels import Gate, Load, profiles
from loadtest.plan import SECRET_VARIABLE
from loadtest.questions import Size
from loadtest.sla import Sample, Traffic, judge
from loadtest.target import stack
from tests.sla_server import SECRET, FakeQuarry, serving

_WEBHOOKS = "POST /v1/webhooks/github"
_PROFILE = profiles()["stack", "webhook"]
_BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"
# A child that works and ends, then one that works on: both count, until standard input ends.
_TREE = """
import subprocess, sys
subprocess.run([sys.executable, "-c", {burn!r}], check=True)
with subprocess.Popen([sys.executable, "-c", {burn!r} + "print(flush=True); input()"], stdin=subprocess.PIPE) as child:
    input()
    child.communicate(b"x")
"""
# Above the largest there can be.
_NO_PID = (1 << 22) + 1
_PAIR = Pair(
    cpu_s={"qdrant": 6.0, "indexer": 15.0},
    idle_share={"qdrant": 0.01, "indexer": 0.04},
    wall_s=15.0,
    counted_s=20.0,
    chunks=100,
    embedded_cpu_s=10.0,
    embedded_wall_s=6.0,
)


def test_cpu_time_is_that_of_the_whole_tree_the_ended_included():
    burn = _BURN.format(seconds=0.3)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _TREE.format(burn=burn)], stdin=pipe, stdout=pipe) as tree:
        assert tree.stdout
        tree.stdout.readline()
        used = cpu_s({"tree": tree.pid, "gone": _NO_PID})
        tree.communicate(b"x")

    assert 0.6 <= used["tree"] < 3
    assert used["gone"] == 0


def test_cpu_time_between_two_readings_is_what_was_used_then():
    before = cpu_s({"self": os.getpid()})
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass

    assert difference(before, cpu_s({"self": os.getpid()}))["self"] == pytest.approx(0.2, abs=0.1)


def test_what_the_stack_uses_anyway_is_not_the_cost_of_an_index():
    assert _PAIR.idle_s == pytest.approx(1.0)
    assert _PAIR.ratio == pytest.approx(2.0)


def test_the_median_pair_counts_for_each_figure():
    figures = overhead._figures([_PAIR, replace(_PAIR, embedded_cpu_s=20.0), replace(_PAIR, embedded_cpu_s=16.0)])

    assert figures["cpu_over_embedded"] == 1.25
    assert figures["embedded_cpu_s"] == 16
    assert figures["cpu_s"] == 20
    assert figures["cpu_s_by_process"] == {"qdrant": 6, "indexer": 15}


class _Stalls(BaseHTTPRequestHandler):
    """Keeps the request for /slow until there is nothing more to ask, and all others only for a moment."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    let_go: Event

    def do_GET(self):
        self.asked.append(self.path)
        if self.path == "/slow":
            self.let_go.wait(10)
        if self.path == "/last":
            self.let_go.set()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def stalling() -> Iterator[str]:
    _Stalls.asked, _Stalls.let_go = [], Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stalls) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.enable_socket
def test_a_slow_answer_holds_up_no_other_request_and_counts_in_full(stalling):
    targets = ["/slow", *(f"/{number}" for number in range(10)), "/last"]

    answers = paced(stalling, targets, per_s=40)

    # The last is due 11/40 s after the first, which is kept until then.
    assert answers[0].took_ms >= 250
    assert max(answer.took_ms for answer in answers[1:-1]) < answers[0].took_ms
    assert sorted(_Stalls.asked) == sorted(targets)
    assert [answer.status for answer in answers] == [200] * 12


@pytest.mark.enable_socket
def test_a_server_that_is_gone_is_no_measurement():
    with pytest.raises(MeasurementError, match="connections failed"):
        paced("http://127.0.0.1:1", ["/"], per_s=10)


def _found(hits: int, status: int = 200) -> Answer:
    hit = {"repo": "r", "path": "a.py", "start_line": 1, "end_line": 2, "kind": "code", "language": "python"}
    hit |= {"symbol": "", "score": 1.0, "revision": "0" * 40, "url": "/", "text": "x"}
    answer = {"query": "q", "took_ms": 1.0, "indexing": [], "outdated": [], "truncated": False, "damaged": 0}
    return Answer(12.0, status, json.dumps({**answer, "hits": [hit] * hits}).encode())


def test_searches_are_summed_up():
    figures = search._figures([Query("a", "phrase")] * 20, [_found(1)] * 19 + [_found(0)])

    assert figures["p50_ms"] == figures["p99_ms"] == 12
    assert (figures["queries"], figures["with_hits"]) == (20, 19)


@pytest.mark.parametrize(
    ("answer", "message"),
    [(_found(0), "only 0 of 4"), (_found(1, 503), "503"), (Answer(1.0, 200, b'{"hits": []}'), "not what the API")],
)
def test_a_fast_wrong_answer_is_no_measurement(answer, message):
    with pytest.raises(MeasurementError, match=message):
        search._figures([Query("a", "phrase")] * 4, [answer] * 4)


def _traffic(took_ms: float, per_s: float = 50.0, error: str = "") -> Traffic:
    count = int(_PROFILE.window_s * per_s)
    samples = [Sample(_WEBHOOKS, number / per_s, took_ms, error) for number in range(count)]
    return Traffic(samples, 0.0, _PROFILE.window_s, 0.1)


@pytest.mark.parametrize("took_ms", [20.0, 400.0])
def test_late_webhooks_are_a_figure_like_early_ones(took_ms):
    figures = webhook._record(_PROFILE, _traffic(took_ms)).figures

    assert figures["p99_ms"] == took_ms
    assert figures["per_s"] == 50


@pytest.mark.parametrize(
    ("traffic", "message"), [(_traffic(20, 40), "rate is 0.8"), (_traffic(20, error="status 503"), "status 503")]
)
def test_webhooks_that_were_not_sent_or_refused_are_no_measurement(traffic, message):
    with pytest.raises(MeasurementError, match=message):
        webhook._record(_PROFILE, traffic)


@pytest.mark.enable_socket
def test_webhooks_are_announced_at_the_offered_rate_each_for_a_repository_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    fake, size = FakeQuarry(), Size(repos=1, files=5, mean_bytes=400)
    gates = {_WEBHOOKS: Gate(p50_ms=5000, p95_ms=5000, p99_ms=5000, requests=1, rate=0.5)}
    profile = replace(_PROFILE, corpus=size, warm_up_s=0.5, window_s=2.0, webhook=Load(3, 4.0), gates=gates)

    with serving(fake) as url, stack(profile, tmp_path, url) as plan:
        verdict = judge(attack(plan, tmp_path), profile.gates, profile.offered())

    assert verdict.problems == ()
    assert profile.offered() == {_WEBHOOKS: 12}
    assert len(set(fake.signed)) == 3


def test_every_line_of_the_table_has_an_aim_at_least_as_strict_as_its_limit():
    assert [line for line in LINES if (line.aim < line.must) is line.more_is_better and line.aim != line.must] == []


def test_the_table_has_a_line_for_each_result_and_names_what_is_missed():
    source, machine = {"commit": "0123456789", "dirty": False}, {"cpu": "Some CPU", "cores": 2, "memory_gb": 8.0}
    common = {"runs": [], "corpus": {}, "machine": machine | {"kernel": "6.1", "python": "3.11"}, "source": source}
    records = [Record("overhead", {"cpu_over_embedded": 1.7}, **common), Record("push", {"p95_s": 1.5}, **common)]

    table = render({record.scenario: record for record in records})

    assert "| 1.7 × (missed) |" in table
    assert "| 1.5 s |" in table
    assert "webhooks" not in table
    assert "Some CPU" in table


def test_no_results_make_no_claim():
    assert render({}) == "No results are stored yet: `make bench-distributed chaos`."
