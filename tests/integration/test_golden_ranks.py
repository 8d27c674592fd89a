"""The guard of search quality: a fixed tree is indexed and asked, and no answer may stand lower than it did."""

import pytest

from benchmarks.retrieval import golden
from benchmarks.retrieval.golden import Golden


def test_no_rank_of_the_golden_set_fell(tmp_path, monkeypatch):
    monkeypatch.setenv("QUARRY_WORKERS", "2")
    held = golden.stored()

    fallen = golden.falls(held, golden.measured(held, tmp_path))

    accept = "if it is meant so: python -m benchmarks.retrieval golden --write"
    assert not fallen, "\n".join([*fallen, accept])


def _held(*ranks: int) -> list[Golden]:
    return [Golden(f"question {number}", f"{number}.py", rank) for number, rank in enumerate(ranks)]


def test_a_fall_names_the_questions_and_their_ranks():
    assert golden.falls(_held(1, 2, 4), [3, 0, 1]) == [
        "NDCG@10 of the golden set fell from 0.6872 to 0.5000:",
        "'question 0': 0.py was at rank 1, is at rank 3",
        "'question 1': 1.py was at rank 2, is not among the first 10",
    ]


@pytest.mark.parametrize("ranks", [[1, 2, 4], [1, 1, 5], [2, 1, 4]])
def test_ranks_as_good_on_the_whole_are_no_fall(ranks):
    assert golden.falls(_held(1, 2, 4), ranks) == []


def test_accepted_ranks_are_the_ones_held_afterwards(tmp_path):
    golden.write(_held(1, 2), [2, 1], tmp_path)

    assert golden.stored(tmp_path) == _held(2, 1)


def test_the_golden_set_is_large_enough_and_answers_are_in_the_tree(tmp_path):
    import tarfile

    held = golden.stored()
    with tarfile.open(golden.FOLDER / "tree.tar.xz") as tar:
        names = set(tar.getnames())

    assert len(held) >= 25
    assert {each.path for each in held} <= names
