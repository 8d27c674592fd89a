"""Repositories that change during a run: in one file stands a word that each change replaces.

The words are none of any language, so that they are found if and only if they are indexed, and never get in the way of
what the corpus answers.
"""

import random

WORD_FILE = "src/current.py"
_LETTERS = "bcdfghjklmnpqrstvwxz"
_WORD_CHARS = 18
_OTHER_FILES = 10


def new_word(rng: random.Random) -> str:
    """Return a word that was never used."""
    return "".join(rng.choices(_LETTERS, k=_WORD_CHARS))


def word_file(word: str) -> str:
    """Return the file that holds a word."""
    return f"def {word}(value):\n    return value\n"


def first_files(name: str) -> dict[str, str]:
    """Return what a repository holds before its first change."""
    rng = random.Random(name)
    others = {f"src/{new_word(rng)}.py": word_file(new_word(rng)) for _ in range(_OTHER_FILES)}
    return {WORD_FILE: word_file(new_word(rng)), **others}
