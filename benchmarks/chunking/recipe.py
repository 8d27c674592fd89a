"""A recipe: how large chunks are cut, and what is embedded with each of them.

Whatever the recipe, chunks tile their file; overlap and headers are only in what the vectors are made of.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from services.chunker import lines, split_cuts, split_tree
from services.core import sparse
from services.core.model import Chunk

_GOAL_BYTES = lines.GOAL_BYTES
# What a size depends on; all of it grows with the goal, or a larger chunk would be cut by other rules.
_CUTTING: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (lines, ("GOAL_BYTES", "MAX_BYTES", "MIN_BYTES", "_PER_COLUMN", "_NOT_BLANK_BEFORE", "_CLOSES")),
    (
        split_cuts,
        ("GOAL_BYTES", "MAX_BYTES", "MIN_BYTES", "_SLACK_BYTES", "_ALONE_BYTES", "_BYTES_PER_LEVEL", "_CRUMB"),
    ),
    (split_tree, ("MAX_BYTES",)),
)


@dataclass(frozen=True, slots=True)
class View:
    """What a vector sees of a chunk beside its text.

    overlap_bytes: so much of the text before the chunk, in whole lines. path, symbol: how often the file's path and
    the dotted name of the definition around the chunk are put before it.
    """

    overlap_bytes: int = 0
    path: int = 0
    symbol: int = 0

    def text(self, path: str, file: bytes, chunk: Chunk) -> str:
        """Return the text of which a vector is made."""
        header = f"{path}\n" * self.path + f"{chunk.symbol}\n" * (self.symbol if chunk.symbol else 0)
        start = self._start(file, chunk.start_byte)
        return header + file[start : chunk.end_byte].decode("utf-8", "replace")

    def _start(self, file: bytes, start: int) -> int:
        if not self.overlap_bytes or not start:
            return start
        line = file.find(b"\n", max(0, start - self.overlap_bytes - 1), start) + 1
        return line if 0 < line <= start else start


@dataclass(frozen=True, slots=True)
class Recipe:
    """Chunks of about `goal_bytes`, and what the dense and the sparse vector see of them.

    `context`: weight of the unit vector of path and symbol that is added to the unit vector of the text. Unlike a
    header within the text it weighs the same in short chunks and long ones, and equal texts stay equal in the cache.
    """

    name: str
    goal_bytes: int = _GOAL_BYTES
    dense: View = View()
    sparse: View = View()
    context: float = 0.0


RECIPES = (
    Recipe("default"),
    *(Recipe(f"{size} bytes", size) for size in (500, 750, 1000, 1150, 1500, 1750, 2000)),
    Recipe("overlap 150, dense", dense=View(150)),
    Recipe("overlap 150", dense=View(150), sparse=View(150)),
    Recipe("overlap 300, dense", dense=View(300)),
    Recipe("overlap 300", dense=View(300), sparse=View(300)),
    Recipe("path, dense", dense=View(path=1)),
    Recipe("symbol, dense", dense=View(symbol=1)),
    Recipe("path and symbol, dense", dense=View(path=1, symbol=1)),
    Recipe("path and symbol three times, dense", dense=View(path=3, symbol=3)),
    *(Recipe(f"vector of path and symbol x {weight}", context=weight) for weight in (0.25, 0.5, 0.75, 1.0)),
    Recipe("symbol, sparse", sparse=View(symbol=1)),
    Recipe("symbol, both", dense=View(symbol=1), sparse=View(symbol=1)),
    Recipe("vector of path and symbol x 0.5, symbol sparse", sparse=View(symbol=1), context=0.5),
)


@contextmanager
def cutting(goal_bytes: int) -> Iterator[None]:
    """Cut chunks of about `goal_bytes` while this lasts, in this process.

    The product has one size, in constants of the splitter: an argument would slow its inner loop for the sake of
    a benchmark. The length that BM25 takes for average goes along.
    """
    factor = goal_bytes / _GOAL_BYTES
    kept = {(module, name): getattr(module, name) for module, names in _CUTTING for name in names}
    average_words = sparse._AVERAGE_WORDS
    try:
        for (module, name), value in kept.items():
            setattr(module, name, round(value * factor))
        sparse._AVERAGE_WORDS = average_words * factor
        yield
    finally:
        for (module, name), value in kept.items():
            setattr(module, name, value)
        sparse._AVERAGE_WORDS = average_words
