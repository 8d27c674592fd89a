from dataclasses import asdict
from operator import attrgetter

import pytest

from services.api.query import understand
from services.api.ranking import Candidate, rank
from services.api.weights import BOOSTS, DEFAULT, FACTORS, RULES, Weights
from tests.unit.ranking_samples import chunk

# A query in whose answer every rule has something to say.
QUERY = "the LoadSettings of settings in conf documentation"
CHUNKS = (
    chunk("conf/v2/settings.py", repo="conf", defines=["LoadSettings"], symbol="Settings"),
    chunk("conf/v2/settings.py", repo="conf", ordinal=1),
    chunk("conf/v2/__init__.py", repo="conf"),
    chunk("conf/v1/settings.pyi", repo="conf"),
    chunk("tests/settings.py", repo="conf", kind="test"),
    chunk("src/legacy/views.py", repo="other"),
    chunk("src/win/views.py", repo="other"),
    chunk("docs/views.md", repo="other", kind="docs"),
)
# What decides in the vector store, before there is anything to rank.
LISTS = {"dense", "sparse", "definitions", "files", "lexical_score"}


def contributions(weights):
    candidates = [Candidate(each, 1.0) for each in CHUNKS]
    hits = rank(understand(QUERY), candidates, repos_in_scope=2, weights=weights)
    place = attrgetter("chunk.repo", "chunk.path", "chunk.ordinal")
    return {rule: {place(hit): hit.rules[rule] for hit in hits} for rule in (*BOOSTS, *FACTORS)}


@pytest.mark.parametrize("rule", sorted(set(RULES) - LISTS))
def test_a_rule_switched_off_contributes_nothing_and_the_others_what_they_did(rule):
    on, off = contributions(DEFAULT), contributions(DEFAULT.without(rule))

    assert len(set(on[rule].values())) > 1
    assert len(set(off[rule].values())) == 1
    assert {r: v for r, v in off.items() if r != rule} == {r: v for r, v in on.items() if r != rule}


def test_every_rule_a_hit_shows_can_be_switched_off():
    shown = rank(understand(QUERY), [Candidate(CHUNKS[0], 1.0)])[0].rules

    assert set(shown) - {"fused"} == set(RULES) - LISTS


@pytest.mark.parametrize("rule", RULES)
def test_switching_off_changes_weights_and_twice_is_once(rule):
    off = DEFAULT.without(rule)

    assert asdict(off) != asdict(Weights())
    assert off.without(rule) == off
