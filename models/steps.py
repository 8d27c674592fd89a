"""The steps of the recipe, each of which stores its result under the digest of what it was made from."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import zstandard
from blake3 import blake3

from models.archives import members
from models.fetch import fetch
from models.leaks import body_digest, is_copy, is_vendored, leaked, long_lines
from models.packages import Package, check, load_packages, names_of, never_train_on
from models.pairs import Pair, pairs_of

WORK = Path(".bench/model")
# Raised whenever the pairs of a package change.
EXTRACT_VERSION = 3
# Even languages count for more than many pairs; a package must not set the tone of its language.
MAX_OF_PACKAGE = 4000
MAX_OF_LANGUAGE = 24_000
# Named pairs only fill up: comments say more.
MAX_NAMED_OF_LANGUAGE = 6_000
# "Returns the name." tells nothing apart.
MAX_SAME_TEXT = 3


def _digest(*parts: object) -> str:
    return blake3(json.dumps(parts, default=str).encode()).hexdigest()[:24]


def extract(package: Package, work: Path = WORK) -> list[Pair]:
    """Return the pairs of a package's archive, at most so many of each kind, from files drawn by a fixed seed."""
    listed = names_of(never_train_on())
    kept = work / "pairs" / _digest(EXTRACT_VERSION, package.sha256, sorted(listed), MAX_OF_PACKAGE)
    if not kept.exists():
        pairs = _read(fetch(package, work / "archives"), listed, seed=package.sha256)
        kept.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(asdict(pair)) + "\n" for pair in pairs)
        part = kept.with_suffix(".part")
        part.write_bytes(zstandard.compress(lines.encode()))
        part.replace(kept)
    return [Pair(**json.loads(line)) for line in zstandard.decompress(kept.read_bytes()).decode().splitlines()]


def _read(archive: Path, listed: frozenset[str], seed: str) -> list[Pair]:
    files = [(path, raw) for path, raw in members(archive) if not is_vendored(path, listed)]
    random.Random(seed).shuffle(files)
    found: list[Pair] = []
    commented = 0
    for path, raw in files:
        for pair in pairs_of(path, raw):
            found.append(pair)
            commented += not pair.is_named
        if commented >= MAX_OF_PACKAGE or len(found) >= 4 * MAX_OF_PACKAGE:
            break
    return found


def extracted(work: Path = WORK, *, held_out: bool = False) -> Iterator[Pair]:
    """Yield the pairs of every package that is trained on, or else of those that are held out."""
    packages = load_packages()
    check(packages, never_train_on())
    for package in packages:
        if package.held_out == held_out:
            yield from extract(package, work)


def clean(work: Path = WORK) -> list[Pair]:
    """Return the pairs to train on: no copies, nothing said too often, languages evened out."""
    forbidden: set[int] = set()
    for pair in extracted(work, held_out=True):
        forbidden |= long_lines(pair.code)
    copies, seen, said = leaked(), set(), Counter[str]()
    by_language: dict[tuple[str, bool], list[Pair]] = {}
    for pair in extracted(work):
        body = body_digest(pair.code)
        if body in seen or body in copies or said[pair.text.lower()] >= MAX_SAME_TEXT or is_copy(pair.code, forbidden):
            continue
        seen.add(body)
        said[pair.text.lower()] += 1
        by_language.setdefault((pair.language, pair.is_named), []).append(pair)
    return _evened(by_language)


def _evened(by_language: dict[tuple[str, bool], list[Pair]]) -> list[Pair]:
    chosen: list[Pair] = []
    for (language, is_named), pairs in sorted(by_language.items()):
        commented = min(MAX_OF_LANGUAGE, len(by_language.get((language, False), [])))
        room = min(MAX_NAMED_OF_LANGUAGE, MAX_OF_LANGUAGE - commented) if is_named else MAX_OF_LANGUAGE
        random.Random(language).shuffle(pairs)
        chosen += pairs[:room]
    return chosen
