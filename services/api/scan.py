"""`exact` and `regex`: read the text of every file that the filters admit and that has the words, in parallel by pack.

The result does not depend on timing, except that a scan which runs out of time
says so and has only the hits found until then.
"""

import gc
import heapq
import math
import os
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from services.api.live import LiveFile, PackFiles
from services.api.lookup import WordLookup
from services.api.packtext import ChunkPlace, PackText, PackTexts
from services.api.paths import path_words
from services.api.patterns import Pattern
from services.core.errors import CorruptData, NotFound
from services.core.model import FileKind

_MAX_MATCHES_PER_FILE = 1_000
_MAX_MATCHES = 100_000
# More are not drawn in one hit.
_MAX_MATCHES_SHOWN = 100
# Unpacking and searching release the GIL for most of their time, reading an index does not.
_MAX_THREADS = 4

_KIND_WEIGHTS = {FileKind.CODE.value: 1.0, FileKind.TEST.value: 0.6, FileKind.DOCS.value: 0.7}
_OTHER_KIND_WEIGHT = 0.5
_DEFINES = 2.0
_FILE_NAMED = 0.5
# Ten matches count twice as much as one.
_MATCHES = 0.3
_SAME_FILE = 0.9

_pausing = threading.Lock()

Match = tuple[int, int, int]
# A repository, and files of it that lie in one pack.
RepoPack = tuple[str, PackFiles]


@dataclass(frozen=True, slots=True)
class Sources:
    """What a scan reads: the words of packs, and the texts of those that have what is looked for."""

    words: WordLookup
    texts: PackTexts


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk in which matches begin, each as line, first column and column after the last, 1-based characters."""

    repo: str
    file: LiveFile
    place: ChunkPlace
    score: float
    text: bytes
    matches: tuple[Match, ...]


@dataclass(slots=True)
class Scan:
    """What a scan found: its best chunks in order, and how much there was."""

    hits: list[Found] = field(default_factory=list)
    matches: int = 0
    files: int = 0
    truncated: bool = False
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Hit:
    order: tuple[float, str, str, int]
    repo: str
    file: LiveFile
    place: ChunkPlace
    spans: list[tuple[int, int]]


def scan(
    sources: Sources,
    pattern: Pattern,
    packs: Iterable[RepoPack],
    wanted: Callable[[LiveFile], bool],
    *,
    best: int,
    timeout_s: float,
) -> Scan:
    """Return the `best` chunks of the `wanted` files that `pattern` fits, ranked, at most `timeout_s` seconds later."""
    result = Scan()
    deadline = time.monotonic() + timeout_s
    jobs = list(packs)
    with (
        _collector_paused(),
        ThreadPoolExecutor(min(_MAX_THREADS, len(os.sched_getaffinity(0)), max(1, len(jobs)))) as pool,
    ):
        work = partial(_scan_pack, sources, pattern, wanted, best)
        for pack, outcome in _in_order(pool, work, jobs):
            if outcome is None:
                result.damaged.append(pack)
            else:
                _merge(result, outcome, best)
            if result.matches >= _MAX_MATCHES or time.monotonic() > deadline:
                result.truncated = True
                break
    return result


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cycle collector from running; scans at the same time do not prolong each other's pause.

    A pack's index is thousands of lists, none in a cycle. Looking through them, and through the files
    of the whole repository again and again, took a third of the CPU time of a scan of 78,000 files.
    """
    paused = _pausing.acquire(blocking=False)
    resume = paused and gc.isenabled()
    if resume:
        gc.disable()
    try:
        yield
    finally:
        if resume:
            gc.enable()
        if paused:
            _pausing.release()


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[RepoPack], Scan], packs: list[RepoPack]
) -> Iterator[tuple[str, Scan | None]]:
    """Yield each pack with its outcome, in order, a few packs ahead; None for a damaged one."""
    waiting: deque[tuple[str, Future[Scan]]] = deque()
    rest = iter(packs)
    try:
        while True:
            for each in islice(rest, _MAX_THREADS + 1 - len(waiting)):
                waiting.append((each[1].files[0].pack, pool.submit(work, each)))
            if not waiting:
                return
            pack, future = waiting.popleft()
            try:
                yield pack, future.result()
            except (CorruptData, NotFound):
                yield pack, None
    finally:
        for _, future in waiting:
            future.cancel()


def _scan_pack(
    sources: Sources, pattern: Pattern, wanted: Callable[[LiveFile], bool], best: int, repo_pack: RepoPack
) -> Scan:
    repo, pack = repo_pack
    result = Scan()
    files = [file for file in sources.words.may_match(pattern, pack) if wanted(file)]
    if not files:
        return result
    text = sources.texts.get(files[0].pack)
    hits: list[_Hit] = []
    for file in files:
        source = text.file(file.first, file.count)
        spans = list(islice(pattern.spans(source), _MAX_MATCHES_PER_FILE))
        if spans:
            result.matches += len(spans)
            result.files += 1
            result.truncated |= len(spans) == _MAX_MATCHES_PER_FILE
            hits += _file_hits(text, repo, file, source, spans, pattern)
    result.hits = [_found(text, hit) for hit in heapq.nsmallest(best, hits, key=lambda hit: hit.order)]
    return result


def _merge(result: Scan, part: Scan, best: int) -> None:
    result.matches += part.matches
    result.files += part.files
    result.truncated |= part.truncated
    result.hits = list(islice(heapq.merge(result.hits, part.hits, key=_order), best))


def _file_hits(
    pack: PackText, repo: str, file: LiveFile, source: bytes, spans: list[tuple[int, int]], pattern: Pattern
) -> list[_Hit]:
    starts = pack.start_bytes(file.first, file.count)
    by_chunk: dict[int, list[tuple[int, int]]] = {}
    for span in spans:
        by_chunk.setdefault(bisect_right(starts, span[0]) - 1, []).append(span)
    scored = []
    for ordinal, inside in by_chunk.items():
        place = pack.place(file.first, ordinal)
        texts = {source[start:end] for start, end in inside[:_MAX_MATCHES_SHOWN]}
        names = {name for text in texts for name in pattern.names(text)}
        scored.append((_score(file, place, names, len(inside)), place, inside))
    scored.sort(key=lambda each: (-each[0], each[1].ordinal))
    return [
        _Hit((-score * _SAME_FILE**i, repo, file.path, place.ordinal), repo, file, place, inside)
        for i, (score, place, inside) in enumerate(scored)
    ]


def _score(file: LiveFile, place: ChunkPlace, names: set[str], matches: int) -> float:
    defines = _DEFINES if not names.isdisjoint(place.defines) else 0.0
    stem = path_words(file.path).stem
    named = _FILE_NAMED if any(stem == name.lower() for name in names) else 0.0
    return _KIND_WEIGHTS.get(file.kind, _OTHER_KIND_WEIGHT) * (1 + defines + named + _MATCHES * math.log10(matches))


def _found(text: PackText, hit: _Hit) -> Found:
    file, place = hit.file, hit.place
    source = text.file(file.first, file.count)
    matches = _located(source, place, hit.spans[:_MAX_MATCHES_SHOWN])
    chunk = source[place.start_byte : place.end_byte]
    return Found(hit.repo, file, place, -hit.order[0], chunk, matches)


def _located(source: bytes, place: ChunkPlace, spans: list[tuple[int, int]]) -> tuple[Match, ...]:
    """Return the line and columns of each match; of one that spans lines, its part of the first."""
    located = []
    line, counted = place.start_line, place.start_byte
    for start, end in spans:
        line += source.count(b"\n", counted, start)
        counted = start
        line_start = source.rfind(b"\n", 0, start) + 1
        line_end = source.find(b"\n", start, end)
        first = len(source[line_start:start].decode(errors="replace")) + 1
        width = len(source[start : end if line_end < 0 else line_end].decode(errors="replace"))
        located.append((line, first, first + width))
    return tuple(located)


def _order(found: Found) -> tuple[float, str, str, int]:
    return (-found.score, found.repo, found.file.path, found.place.ordinal)
