"""Doc comments against their functions: the first sentence is the question, and the comment is not in the index."""

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.retrieval.documented import Function, functions, lines_after, without
from benchmarks.retrieval.packages import Package, listed, sources
from benchmarks.retrieval.pools import Question, Suite, Target, Tree
from benchmarks.retrieval.sentences import question, words

NAME = "doc-comments"
SEED = 1
MOST_QUESTIONS = 40
# A function too short to hold more than its name could only be found by that.
_LEAST_LINES, _LEAST_BYTES = 3, 80
_NO_TARGETS = "test tests testing testdata testutil bench benches benchmark benchmarks example examples docs __tests__"


def load(folder: Path) -> Suite:
    """Write the listed packages into `folder`, which keeps their archives, and return the questions.

    Raises:
        NotThere: a package can't be had.
    """
    given = folder / "given" / NAME
    shutil.rmtree(given, ignore_errors=True)
    return build(listed(), folder / "archives", given)


def build(packages: Sequence[Package], archives: Path, trees: Path) -> Suite:
    """Write the packages without the comments that are asked for, and return the questions.

    Raises:
        NotThere: a package can't be had.
    """
    built: list[Tree] = []
    questions: list[Question] = []
    for package in packages:
        files = sources(package, archives)
        drawn = draw(package, files)
        root = trees / package.short_name
        for path, data in files.items():
            spans = [function.comment for function, _ in drawn.get(path, ())]
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(without(data, spans))
            questions += [
                Question(package.short_name, text, (Target(path, *lines_after(data, function, spans)),))
                for function, text in drawn.get(path, ())
            ]
        built.append(Tree(package.short_name, root, package.language))
    origin = {"packages": {package.name: [package.version, package.sha256] for package in packages}, "seed": SEED}
    return Suite(NAME, tuple(built), tuple(questions), origin)


def draw(package: Package, files: dict[str, bytes]) -> dict[str, list[tuple[Function, str]]]:
    """Return at most 40 functions of a package with their questions, by path; the same ones every time."""
    found = [
        (path, function, text)
        for path in sorted(files)
        if _may_be_asked(path)
        for function in functions(files[path], package.language)
        if _is_long_enough(files[path], function) and (text := _question(function, package.language))
    ]
    # Overloads that share a sentence answer it equally well.
    times = Counter(" ".join(words(text)) for _, _, text in found)
    distinct = [each for each in found if times[" ".join(words(each[2]))] == 1]
    chosen = random.Random(f"{SEED} {package.name}").sample(distinct, min(MOST_QUESTIONS, len(distinct)))
    drawn: dict[str, list[tuple[Function, str]]] = {}
    for path, function, text in sorted(chosen, key=lambda each: (each[0], each[1].start)):
        drawn.setdefault(path, []).append((function, text))
    return drawn


def _question(function: Function, language: str) -> str:
    # Go's comments begin with the name, which would turn the question into a look-up.
    return question(function.text, function.name, drop_name=language == "go")


def _may_be_asked(path: str) -> bool:
    *folders, name = path.lower().split("/")
    is_test = name.startswith("test_") or "_test." in name or ".test." in name or ".spec." in name
    return not name.endswith(".md") and not is_test and not set(_NO_TARGETS.split()) & set(folders)


def _is_long_enough(source: bytes, function: Function) -> bool:
    inside = function.comment[1] - function.comment[0] if function.comment[0] >= function.start else 0
    lines = source.count(b"\n", function.start, function.end) + 1
    hidden = source.count(b"\n", *function.comment) if inside else 0
    return lines - hidden >= _LEAST_LINES and function.end - function.start - inside >= _LEAST_BYTES
