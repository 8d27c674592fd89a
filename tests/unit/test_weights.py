from dataclasses import asdict

import pytest

from services.api.query import understand
from services.api.ranking import Candidate, rank
from services.api.weights import DEFAULT, RULES, Weights
from services.core.pack import TextSpan
from services.core.payload import StoredChunk

# A query in whose answer every rule has something to say.
QUERY = "the LoadSettings of settings in conf"
SPAN = TextSpan(0, 1, 1, "")


def chunk(path, kind="code", defines=(), ordinal=0, repo="conf"):
    return StoredChunk(repo, path, "python", kind, "", tuple(defines), 1, 9, 0, 9, ordinal, "p", SPAN)


CHUNKS = (
    chunk("conf/settings.py", defines=["LoadSettings"]),
    chunk("conf/settings.py", ordinal=1),
    chunk("conf/__init__.py"),
    chunk("tests/settings.py", "test"),
    chunk("src/views.py", repo="other"),
)
# What decides in the vector store, before there is anything to rank.
LISTS = {"dense", "sparse", "definitions"}


def contributions(weights):
    candidates = [Candidate(each, 1.0) for each in CHUNKS]
    hits = rank(understand(QUERY), candidates, repos_in_scope=2, weights=weights)
    return {
        rule: {(h.chunk.path, h.chunk.ordinal): h.rules[rule] for h in hits}
        for rule in hits[0].rules
        if rule != "fused"
    }


@pytest.mark.parametrize("rule", sorted(set(RULES) - LISTS))
def test_a_rule_switched_off_contributes_nothing_and_the_others_what_they_did(rule):
    on, off = contributions(DEFAULT), contributions(DEFAULT.without(rule))

    assert len(set(on[rule].values())) > 1
    assert len(set(off[rule].values())) == 1
    assert {r: v for r, v in off.items() if r != rule} == {r: v for r, v in on.items() if r != rule}


def test_every_rule_a_hit_shows_can_be_switched_off():
    assert set(contributions(DEFAULT)) == set(RULES) - LISTS


@pytest.mark.parametrize("rule", RULES)
def test_switching_off_changes_weights_and_twice_is_once(rule):
    off = DEFAULT.without(rule)

    assert asdict(off) != asdict(Weights())
    assert off.without(rule) == off
