"""What must not be trained on although a permitted package holds it: vendored and copied code.

Copies are told by their long lines: a body of which more than 30 % stand in a listed repository is one.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

from models.packages import plain

LEAKED = Path(__file__).with_name("leaked.txt")
# Shorter lines (a brace, a return, an import) are the same in unrelated programs.
MIN_LINE_CHARS = 30
MAX_SHARE = 0.3
_BLANKS = re.compile(r"\s+")


def is_vendored(path: str, listed: frozenset[str]) -> bool:
    """Say whether a folder or the file is named like one of the listed; the archive's own root does not count."""
    parts = path.lower().split("/")[1:]
    return any(plain(part.partition(".")[0].strip("_")) in listed or plain(part) in listed for part in parts)


def long_lines(text: str) -> set[int]:
    """Return the lines that tell a text from others, each as a number."""
    lines = (_BLANKS.sub("", line) for line in text.splitlines())
    return {_number(line.encode()) for line in lines if len(line) >= MIN_LINE_CHARS}


def is_copy(code: str, known: set[int]) -> bool:
    """Say whether more than 30 % of the long lines are known ones."""
    lines = long_lines(code)
    return bool(lines) and len(lines & known) > MAX_SHARE * len(lines)


def body_digest(code: str) -> str:
    """Return 16 hex digits for a body, whatever its white space."""
    return blake3(_BLANKS.sub("", code).encode()).hexdigest()[:16]


def leaked(path: Path = LEAKED) -> frozenset[str]:
    """Return the digests of the bodies found to be copies of listed repositories."""
    return frozenset(path.read_text().split()) if path.exists() else frozenset()


def lines_of_trees(folders: Iterable[Path]) -> set[int]:
    """Return the long lines of every readable text file under the folders."""
    found: set[int] = set()
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            data = file.read_bytes()
            if b"\0" not in data[:8000]:
                found |= long_lines(data.decode("utf-8", "replace"))
    return found


def _number(line: bytes) -> int:
    return int.from_bytes(blake3(line).digest(8), "little")


def main(arguments: list[str]) -> None:
    """Compare the pairs of the last run with trees of listed repositories, and record the copies."""
    from models.steps import extracted

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("trees", nargs="+", type=Path)
    known = lines_of_trees(parser.parse_args(arguments).trees)
    copies = {body_digest(pair.code) for pair in extracted() if is_copy(pair.code, known)}
    everything = sorted(copies | leaked())
    LEAKED.write_text("".join(f"{digest}\n" for digest in everything))
    print(f"{LEAKED.name}: {len(everything)} bodies, {len(copies)} of the last run; run the recipe again")


if __name__ == "__main__":
    main(sys.argv[1:])
