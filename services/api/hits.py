"""The answer to a search, as every way of asking gets it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hit:
    """A scored chunk; lines are 1-based and inclusive.

    matches: for exact and regex, (line, first column, column after the last) of each, 1-based, in characters.
    rules: what each ranking rule added or multiplied, where that was asked for.
    """

    repo: str
    path: str
    start_line: int
    end_line: int
    language: str
    kind: str
    symbol: str
    score: float
    text: str
    revision: str
    url: str
    matches: tuple[tuple[int, int, int], ...] = ()
    rules: tuple[tuple[str, float], ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the hit as JSON."""
        document: dict[str, Any] = {
            "repo": self.repo,
            "path": self.path,
            "start_line": self.start_line,
            "end_line": self.end_line,
            "language": self.language,
            "kind": self.kind,
            "symbol": self.symbol,
            "score": round(self.score, 6),
            "text": self.text,
            "revision": self.revision,
            "url": self.url,
        }
        if self.matches:
            document["matches"] = [list(match) for match in self.matches]
        if self.rules:
            document["rules"] = {name: round(value, 6) for name, value in self.rules}
        return document


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits in rank order.

    indexing: repositories in scope whose first index still runs. outdated: those that were indexed with
    another model, or by another version, and so were not searched. truncated: a scan stopped at its time
    limit or at too many matches. damaged: how many stored texts were left out because they do not match
    their digest. matches, files: what a scan found in all, None for the other modes.
    """

    query: str
    took_ms: float
    hits: tuple[Hit, ...]
    indexing: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    truncated: bool = False
    damaged: int = 0
    matches: int | None = None
    files: int | None = None

    def document(self) -> dict[str, Any]:
        """Return the result as JSON."""
        document: dict[str, Any] = {
            "query": self.query,
            "took_ms": round(self.took_ms, 3),
            "hits": [hit.document() for hit in self.hits],
            "indexing": list(self.indexing),
            "outdated": list(self.outdated),
            "truncated": self.truncated,
            "damaged": self.damaged,
        }
        if self.outdated:
            document["note"] = f"{', '.join(self.outdated)}: indexed with another model, run 'quarry index'"
        if self.matches is not None:
            document |= {"matches": self.matches, "files": self.files}
        return document
