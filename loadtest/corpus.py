"""A corpus of generated source files: as many as wanted, the same ones for the same seed.

    python -m loadtest.corpus OUT --files 50000 --seed 1 --bytes 865

865 bytes is the mean that makes 50,000 files about 43 MB. Sizes vary from half the
mean to twice, and a folder holds a few dozen files.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtest.templates import ADJECTIVES, AREAS, LANGUAGES, NOUNS, VERBS, Language

_FILES_PER_FOLDER = 24


@dataclass(frozen=True, slots=True)
class Written:
    """What was generated."""

    files: int
    bytes: int
    seconds: float


def generate(files: int, seed: int, mean_bytes: int) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of each file; equal arguments give equal files."""
    rng = random.Random(seed)
    folder = ""
    for number in range(files):
        if number % _FILES_PER_FOLDER == 0:
            folder = f"{rng.choice(AREAS)}/{rng.choice(NOUNS)}/{rng.choice(ADJECTIVES)}_{rng.choice(NOUNS)}"
        language = LANGUAGES[rng.randrange(len(LANGUAGES))]
        name = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}_{number}.{language.extension}"
        yield f"{folder}/{name}", source(rng, language, mean_bytes)


def source(rng: random.Random, language: Language, mean_bytes: int) -> str:
    """Return one file of about `mean_bytes` on average: a header and members until its size is reached."""
    wanted = mean_bytes * rng.triangular(0.45, 2.1, 0.45)
    parts = [language.header.substitute(_names(rng, language))]
    size = len(parts[0]) + len(language.footer)
    while True:
        member = rng.choice(language.members).substitute(_names(rng, language))
        # Half a member too many as often as half a member too few: the mean stays.
        if len(parts) > 1 and size + len(member) / 2 > wanted:
            break
        parts.append(member)
        size += len(member)
    return "".join(parts) + language.footer


def write(out: Path, files: int, seed: int, mean_bytes: int) -> Written:
    """Write the corpus below `out`."""
    started = time.perf_counter()
    total = 0
    folders: set[Path] = set()
    for path, text in generate(files, seed, mean_bytes):
        target = out / path
        if target.parent not in folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.add(target.parent)
        total += target.write_bytes(text.encode())
    return Written(files, total, round(time.perf_counter() - started, 2))


def _names(rng: random.Random, language: Language) -> dict[str, str]:
    pick = rng.choice
    noun = pick(NOUNS)
    words = {
        "f": (pick(VERBS), pick(ADJECTIVES), noun),
        "g": (pick(VERBS), pick(NOUNS)),
        "a": (pick(ADJECTIVES), pick(NOUNS)),
        "b": (pick(NOUNS), pick(NOUNS)),
        "c": (pick(ADJECTIVES), noun),
    }
    join = _camel if language.camel else "_".join
    names = {key: join(parts) for key, parts in words.items()}
    names["T"] = _pascal((pick(ADJECTIVES), noun))
    names["U"] = _pascal((noun, pick(NOUNS)))
    names["w"] = noun
    names["doc"] = f"{pick(VERBS)} the {pick(ADJECTIVES)} {noun} of each {pick(ADJECTIVES)} {pick(NOUNS)}".capitalize()
    names["n"] = str(rng.randrange(2, 5000))
    names["m"] = str(rng.randrange(2, 90))
    return names


def _camel(parts: tuple[str, ...]) -> str:
    return parts[0] + _pascal(parts[1:])


def _pascal(parts: tuple[str, ...]) -> str:
    return "".join(part.capitalize() for part in parts)


def main(arguments: list[str] | None = None) -> int:
    """Write a corpus and print what was written as JSON."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.corpus", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=865, dest="mean_bytes", help="mean size of a file")
    options = parser.parse_args(arguments)
    written = write(options.out, options.files, options.seed, options.mean_bytes)
    print(json.dumps({"files": written.files, "bytes": written.bytes, "seconds": written.seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
