"""Commit subjects against the files they changed, in any local git repository, over the tree before them."""

import io
import re
import subprocess
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.retrieval.labelled import NotThere
from benchmarks.retrieval.pools import Question, Suite, Target, Tree
from benchmarks.retrieval.sentences import words
from services.chunker.languages import language_of

NAME = "commits"
HOW = "commits: skipped: give HISTORY=path of a git repository with its history, several separated by colons"
MOST_QUESTIONS = 60
# A commit that touches more is a sweep, and its subject names none of them.
_MOST_FILES = 10
_MOST_COMMITS = 1_000
_LEAST_WORDS = 4
_BOTS = re.compile(r"\[bot\]|\bbot\b|dependabot|renovate|github-actions|weblate", re.IGNORECASE)
_TRIVIAL = re.compile(
    r"^\W*(?:bump|release|merge|revert|version|prepare|changelog|typo|fix typo|lint|format|fmt|update dep|upgrade dep"
    r"|update changelog|update readme|v?\d+\.\d+)\b|^(?:chore|build|ci|docs|style)\b",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\s*\(?#\d+\)?|\s*\[[A-Z]+-\d+\]")
_NO_CODE = """
text markdown rst json yaml toml ini csv diff html css xml svg properties makefile dockerfile
"""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: its subject, and the paths of code it modified."""

    digest: str
    subject: str
    paths: tuple[str, ...]


def build(repositories: str, trees: Path) -> Suite:
    """Write each repository's tree as it was before the commits that are asked for, and return the questions.

    Raises:
        NotThere: there is no repository, or it has no commit to ask for.
    """
    if not repositories:
        raise NotThere(HOW)
    built: list[Tree] = []
    questions: list[Question] = []
    bases: dict[str, object] = {}
    for repository in map(Path, repositories.split(":")):
        name = repository.absolute().name.removesuffix(".git")
        commits = eligible(repository)
        if not commits:
            raise NotThere(f"commits: {str(repository)!r} has no history with subjects to ask for")
        base = _git(repository, "rev-parse", f"{commits[-1].digest}^")
        present = write_tree(repository, base, trees / name)
        asked = [Question(name, c.subject, _targets(c, present)) for c in commits if _targets(c, present)]
        languages = Counter(language_of(path, b"") for commit in commits for path in commit.paths)
        built.append(Tree(name, trees / name, languages.most_common(1)[0][0]))
        questions += asked
        bases[name] = {"base": base, "newest": commits[0].digest}
    return Suite(NAME, tuple(built), tuple(questions), {"repositories": bases})


def eligible(repository: Path) -> list[Commit]:
    """Return the newest commits whose subject says something of at most ten files, newest first, without the first."""
    log = _git(
        repository, "log", "--no-merges", "--no-renames", f"-{_MOST_COMMITS}", "--name-status",
        "--format=%x01%H%x02%P%x02%an <%ae>%x02%s",
    )  # fmt: skip
    found: list[Commit] = []
    subjects: set[str] = set()
    for entry in log.split("\x01")[1:]:
        head, _, changes = entry.partition("\n")
        commit = _commit(head, [line.split("\t") for line in changes.splitlines() if line])
        if commit is not None and commit.subject not in subjects:
            subjects.add(commit.subject)
            found.append(commit)
    return found[:MOST_QUESTIONS]


def write_tree(repository: Path, revision: str, folder: Path) -> frozenset[str]:
    """Write the files of a revision below `folder` and return their paths."""
    command = ["git", "-C", str(repository), "archive", "--format=tar", revision]
    ran = subprocess.run(command, capture_output=True, check=False)
    if ran.returncode:
        raise NotThere(f"commits: {str(repository)!r} lacks files of {revision}: {ran.stderr.decode()[:300]}")
    present = set()
    with tarfile.open(fileobj=io.BytesIO(ran.stdout)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                (folder / member.name).parent.mkdir(parents=True, exist_ok=True)
                (folder / member.name).write_bytes(content.read())
                present.add(member.name)
    return frozenset(present)


def _commit(head: str, changes: Sequence[Sequence[str]]) -> Commit | None:
    digest, parents, author, subject = head.split("\x02")
    subject = _REFERENCE.sub("", subject).strip()
    modified = tuple(
        path for status, path in changes if status == "M" and language_of(path, b"") not in _NO_CODE.split()
    )
    asks = len(words(subject)) >= _LEAST_WORDS and not _TRIVIAL.match(subject) and not _BOTS.search(author)
    if not (asks and parents and modified and len(changes) <= _MOST_FILES):
        return None
    return Commit(digest, subject, modified)


def _is_code(path: str) -> bool:
    return language_of(path, b"") not in _NO_CODE.split() and not path.endswith(".lock")


def _targets(commit: Commit, present: frozenset[str]) -> tuple[Target, ...]:
    return tuple(Target(path) for path in commit.paths if path in present)


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), "-c", "core.quotePath=off", *arguments]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise NotThere(f"commits: git can't read {str(repository)!r}: {said.strip()[:300]}") from error
    return ran.stdout.strip()
