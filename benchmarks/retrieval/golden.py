"""The golden set: questions about a tree that never changes, with the rank at which each is answered.

The tree is a part of Quarry itself as it once was. What is stored is what a search gave when the ranks
were last accepted with ``python -m benchmarks.retrieval golden --write``.
"""

import json
import math
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.retrieval.bootstrap import mean
from benchmarks.retrieval.pools import Question, Target, Tree
from benchmarks.retrieval.quarry import indexed
from benchmarks.retrieval.scoring import DEPTH, ranks

FOLDER = Path(__file__).with_name("golden")
_TREE, _RANKS = "tree.tar.xz", "ranks.json"
# One of 34 questions that falls from the first rank to the second costs 0.011, one from the fourth to the fifth 0.001.
_ALLOWED_FALL = 0.004


@dataclass(frozen=True, slots=True)
class Golden:
    """A question, the file that answers it, and its stored rank; 0 is none of the first ten."""

    query: str
    path: str
    rank: int


def stored(folder: Path = FOLDER) -> list[Golden]:
    """Return the golden set."""
    return [Golden(**entry) for entry in json.loads((folder / _RANKS).read_text())]


def measured(golden: Sequence[Golden], work: Path) -> list[int]:
    """Index the golden tree below `work`, ask every question and return the ranks, 0 for none of the first ten."""
    with tarfile.open(FOLDER / _TREE) as tar:
        tar.extractall(work / "tree", filter="data")
    questions = [Question("golden", each.query, (Target(each.path),)) for each in golden]
    with indexed([Tree("golden", work / "tree", "python")], work / "home") as index:
        answers = index.answers(questions)
    return [min(ranks(hits, question), default=0) for hits, question in zip(answers, questions, strict=True)]


def write(golden: Sequence[Golden], found: Sequence[int], folder: Path = FOLDER) -> None:
    """Store the ranks found as the ones to be held."""
    entries = [{"query": each.query, "path": each.path, "rank": rank} for each, rank in zip(golden, found, strict=True)]
    (folder / _RANKS).write_text(json.dumps(entries, indent=1) + "\n")


def falls(golden: Sequence[Golden], found: Sequence[int]) -> list[str]:
    """Return a line for each rank that fell if NDCG@10 fell by more than 0.004 over all of them, else none."""
    before, now = mean([_gain(each.rank) for each in golden]), mean(list(map(_gain, found)))
    if now >= before - _ALLOWED_FALL:
        return []
    fallen = [
        f"{each.query!r}: {each.path} was {_rank(each.rank)}, is {_rank(rank)}"
        for each, rank in zip(golden, found, strict=True)
        if _gain(rank) < _gain(each.rank)
    ]
    return [f"NDCG@10 of the golden set fell from {before:.4f} to {now:.4f}:", *fallen]


def _gain(rank: int) -> float:
    return 1.0 / math.log2(rank + 1) if 0 < rank <= DEPTH else 0.0


def _rank(rank: int) -> str:
    return f"at rank {rank}" if rank else f"not among the first {DEPTH}"
