"""Search quality: scores, intervals, the baselines, and Quarry with and without its parts."""

import math
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.retrieval.bootstrap import interval
from benchmarks.retrieval.lexical import Postings, terms_of
from benchmarks.retrieval.pools import Chunk, Hit, Question, Target
from benchmarks.retrieval.quarry import PARTS, RULES_OFF, WHOLE, Remembering
from benchmarks.retrieval.scoring import by_file, scores
from services.api.weights import DEFAULT, RULES
from services.core.ports import Candidates, Filter

_ONE = UUID(int=1)


def _hits(*paths: str) -> list[Hit]:
    return [Hit("r", path, 1, 10) for path in paths]


def _question(*targets: Target) -> Question:
    return Question("r", "where is it", targets)


@pytest.mark.parametrize(
    ("paths", "targets", "expected"),
    [
        (["a.py"], ["a.py"], 1.0),
        (["b.py", "a.py"], ["a.py"], 1 / math.log2(3)),
        (["b.py", "src/a.py"], ["a.py"], 1 / math.log2(3)),
        (["a.py"], ["lib/a.py"], 1.0),
        (["xa.py"], ["a.py"], 0.0),
        (["a.py", "b.py"], ["a.py", "b.py"], 1.0),
        (["a.py", "c.py", "b.py"], ["a.py", "b.py"], (1 + 1 / 2) / (1 + 1 / math.log2(3))),
        (["b.py"] * 10 + ["a.py"], ["a.py"], 0.0),
        ([], ["a.py"], 0.0),
    ],
)
def test_ndcg_of_known_answers(paths, targets, expected):
    found = scores(_hits(*paths), _question(*map(Target, targets)))

    assert found["ndcg"] == pytest.approx(expected)


def test_targets_that_one_hit_covers_count_once_for_ndcg():
    targets = (Target("a.py", 1, 4), Target("a.py", 6, 9))

    found = scores(_hits("a.py"), _question(*targets))

    assert found["ndcg"] == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert found["recall"] == 1.0


@pytest.mark.parametrize(("lines", "expected"), [((10, 20), 1.0), ((11, 20), 0.0), ((1, 1), 1.0)])
def test_a_hit_answers_if_it_shows_one_of_the_lines(lines, expected):
    assert scores(_hits("a.py"), _question(Target("a.py", *lines)))["mrr"] == expected


def test_a_hit_in_another_repository_is_no_answer():
    assert scores([Hit("other", "a.py", 1, 10)], _question(Target("a.py")))["recall"] == 0.0


def test_files_are_ranked_by_their_first_hit():
    hits = _hits("a.py", "b.py", "a.py", "c.py")

    assert [hit.path for hit in by_file(hits)] == ["a.py", "b.py", "c.py"]
    assert scores(hits, _question(Target("c.py")))["ndcg_file"] == pytest.approx(0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_holds_the_mean_and_lies_within_the_values(values):
    low, high = interval(values)

    assert min(values) - 1e-9 <= low <= sum(values) / len(values) + 1e-9
    assert sum(values) / len(values) - 1e-9 <= high <= max(values) + 1e-9


def _chunks(*texts: str) -> list[Chunk]:
    return [Chunk(Hit("r", f"{number}.py", 1, 5), text) for number, text in enumerate(texts)]


def test_a_term_match_counts_distinct_words_first_then_occurrences():
    postings = Postings(_chunks("open open open", "open theSocket", "open open", "nothing"))

    assert [hit.path for hit in postings.terms(Question("r", "open a socket", ()))] == ["1.py", "0.py", "2.py"]


def test_bm25_prefers_rare_words_and_short_chunks():
    postings = Postings(_chunks("open it", "open it " + "x " * 50, "socket it", "open open it"))

    assert postings.bm25(Question("r", "the open socket", ()))[0].path == "2.py"
    assert [hit.path for hit in postings.bm25(Question("r", "open", ()))] == ["3.py", "0.py", "1.py"]


def test_a_query_of_stop_words_is_asked_as_it_is():
    assert terms_of("what is it") == ["what", "is", "it"]


def test_every_rule_can_be_left_out_alone_and_all_together():
    assert {variant.name.removeprefix("without ") for variant in RULES_OFF} == set(RULES)
    assert all(variant.weights() != DEFAULT for variant in RULES_OFF)
    assert WHOLE.weights() == DEFAULT
    no_rules = PARTS[-1].weights()
    assert (no_rules.dense, no_rules.sparse, no_rules.path, no_rules.definitions) == (
        DEFAULT.dense,
        DEFAULT.sparse,
        0,
        0,
    )


class _Store:
    """A vector store that counts what it is asked."""

    def __init__(self):
        self.asked = []

    def query(self, dense, sparse, where, limit):
        self.asked.append(limit)
        return Candidates(dense=[(UUID(int=limit), 1.0)])

    def payloads(self, ids):
        self.asked += ids
        return {point: {"path": str(point)} for point in ids}

    def count(self, where):
        return 7


def test_what_was_asked_before_is_answered_from_memory():
    store = _Store()
    memory = Remembering(store)
    dense, sparse = np.ones(3, dtype=np.float32), (np.ones(1, dtype=np.uint32), np.ones(1, dtype=np.float32))

    first = [memory.query(dense, sparse, Filter(), 5), memory.query(dense, None, Filter(), 6), memory.payloads([_ONE])]
    again = [memory.query(dense, sparse, Filter(), 5), memory.query(dense, None, Filter(), 6), memory.payloads([_ONE])]

    assert first == again
    assert store.asked == [5, 6, _ONE]
    assert memory.query(dense, sparse, Filter(repos=("r",)), 5) == first[0]
    assert store.asked == [5, 6, _ONE, 5]
