"""What is asked of what: trees, questions with their answers, and pools, each one index."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder that is indexed as one repository."""

    name: str
    path: Path
    language: str


@dataclass(frozen=True, slots=True)
class Target:
    """An answer: a file of the question's repository, or lines of it (1-based, inclusive; 0 is the whole file)."""

    path: str
    start_line: int = 0
    end_line: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A query about one repository and everything that answers it."""

    repo: str
    text: str
    targets: tuple[Target, ...]
    category: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a system answered with."""

    repo: str
    path: str
    start_line: int
    end_line: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk as Quarry cut it, for the systems that search Quarry's chunks."""

    place: Hit
    text: str


@dataclass(frozen=True, slots=True)
class Pool:
    """One index and the questions asked of it: `setup` says whether a repository stands alone in it."""

    setup: str
    trees: tuple[Tree, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """Questions of one kind about several trees, and where they come from."""

    name: str
    trees: tuple[Tree, ...]
    questions: tuple[Question, ...]
    origin: dict[str, object] = field(default_factory=dict)

    def pools(self, *, by_language: bool) -> list[Pool]:
        """Return each tree alone, then all of them together, or all of a language."""
        alone = [self._pool("single", (tree,)) for tree in self.trees]
        groups = [
            tuple(tree for tree in self.trees if not by_language or tree.language == language)
            for language in (sorted({tree.language for tree in self.trees}) if by_language else ("",))
        ]
        together = [self._pool("pooled", group) for group in groups if len(group) > 1]
        return [pool for pool in [*alone, *together] if pool.questions]

    def _pool(self, setup: str, trees: tuple[Tree, ...]) -> Pool:
        names = {tree.name for tree in trees}
        return Pool(setup, trees, tuple(question for question in self.questions if question.repo in names))
