"""What a point carries beside its vectors, and how it is read back."""

from dataclasses import dataclass
from typing import Any

from services.core.pack import PackedChunk, PackedFile, TextSpan


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the search sees it: all but its text, which `text` locates in `pack`."""

    repo: str
    path: str
    language: str
    kind: str
    symbol: str
    defines: tuple[str, ...]
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    ordinal: int
    pack: str
    text: TextSpan


def to_payload(
    repo: str, file: PackedFile, chunk: PackedChunk, *, ordinal: int, pack: str, generation: int
) -> dict[str, Any]:
    """Return the payload of chunk `ordinal` of `file`.

    Indexed for filters: repo, lang, path (by prefix too), ext, gen, and retired, which only
    `VectorWriter.retire` sets.
    """
    span = chunk.text
    return {
        "repo": repo,
        "path": file.path,
        "ext": extension(file.path),
        "lang": file.language,
        "kind": file.kind,
        "gen": generation,
        "symbol": chunk.symbol,
        "defs": list(chunk.defines),
        "lines": [chunk.start_line, chunk.end_line],
        "bytes": [chunk.start_byte, chunk.end_byte],
        "ordinal": ordinal,
        "pack": pack,
        "at": [span.offset, span.length, span.size],
        "digest": span.digest,
    }


def from_payload(payload: dict[str, Any]) -> StoredChunk:
    """Read a payload back."""
    offset, length, size = payload["at"]
    return StoredChunk(
        repo=payload["repo"],
        path=payload["path"],
        language=payload["lang"],
        kind=payload["kind"],
        symbol=payload["symbol"],
        defines=tuple(payload["defs"]),
        start_line=payload["lines"][0],
        end_line=payload["lines"][1],
        start_byte=payload["bytes"][0],
        end_byte=payload["bytes"][1],
        ordinal=payload["ordinal"],
        pack=payload["pack"],
        text=TextSpan(offset, length, size, payload["digest"]),
    )


def extension(path: str) -> str:
    """Return the lower-case extension of a path's last part without its dot, "" if none."""
    name = path.rpartition("/")[2]
    stem, dot, ext = name.rpartition(".")
    return ext.lower() if dot and stem else ""
