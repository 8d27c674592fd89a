"""What a vector store holds, point by point: what a check compares with the manifests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as it is stored; `retired` is the generation that has replaced it, None if none has.

    `pack` is "" where the payload can't be read.
    """

    id: UUID
    generation: int
    retired: int | None
    pack: str


class Census(Protocol):
    """Lists what is there, whoever may see it."""

    def scroll(self, repo: str) -> Iterator[StoredPoint]:
        """Yield every point of a repository, hidden ones too."""

    def repos(self) -> dict[str, int]:
        """Return how many points there are of each repository."""
