r"""The vocabulary shared by the services: files, chunks, skip reasons, messages.

Paths are text: the repository's bytes decoded as UTF-8, every undecodable byte
written as ``\xNN``. `FileRef.locator` keeps what is needed to read the file.
"""

from dataclasses import dataclass
from enum import StrEnum


class SkipReason(StrEnum):
    """Why a file is not in the index."""

    BINARY = "binary"
    TOO_LARGE = "too_large"
    MINIFIED = "minified"
    EMPTY = "empty"
    IGNORED = "ignored"
    VENDORED = "vendored"
    LOCK_FILE = "lock_file"
    LFS_POINTER = "lfs_pointer"
    SECRET = "secret"
    SYMLINK = "symlink"
    SUBMODULE = "submodule"
    SPECIAL = "special_file"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"

    @property
    def explanation(self) -> str:
        """One sentence for the person who asks why a file is not found."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    SkipReason.BINARY: "the content is not text",
    SkipReason.TOO_LARGE: "larger than QUARRY_MAX_FILE_BYTES",
    SkipReason.MINIFIED: "lines too long to have been written by hand",
    SkipReason.EMPTY: "nothing but white space",
    SkipReason.IGNORED: "matched by .gitignore or .quarryignore",
    SkipReason.VENDORED: "inside a folder of installed dependencies",
    SkipReason.LOCK_FILE: "a lock file written by a package manager",
    SkipReason.LFS_POINTER: "a Git LFS pointer; the content is elsewhere",
    SkipReason.SECRET: "a file name that usually holds secrets",
    SkipReason.SYMLINK: "a symbolic link; its target is indexed where it stands",
    SkipReason.SUBMODULE: "a submodule; index it as a repository of its own",
    SkipReason.SPECIAL: "a socket, pipe or device",
    SkipReason.UNREADABLE: "could not be read",
    SkipReason.VANISHED: "disappeared while it was being indexed",
}


class ParseNote(StrEnum):
    """Why a file that has a grammar was cut by lines instead."""

    CRASHED = "parser_crashed"
    TIMED_OUT = "parser_timed_out"
    TOO_DEEP = "parser_too_deep"
    OUT_OF_MEMORY = "parser_out_of_memory"


class FileKind(StrEnum):
    """What a file is for; ranking prefers code unless asked otherwise."""

    CODE = "code"
    TEST = "test"
    DOCS = "docs"
    CONFIG = "config"
    EXAMPLE = "example"
    GENERATED = "generated"
    VENDORED = "vendored"


@dataclass(frozen=True, slots=True)
class FileRef:
    """One file of a revision, before it is read.

    `locator` is what its source reads it by: a git object id, or the path below
    the root with undecodable bytes as surrogates. `fingerprint` changes when the
    content may have: the git object id, or ``"size:mtime_ns"``. `size` in bytes.
    """

    path: str
    locator: str
    fingerprint: str
    size: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not in the index, and why; `detail` may be empty."""

    path: str
    reason: SkipReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One embeddable piece of one file: half-open bytes, 1-based inclusive lines.

    Bytes count in the file's text as stored (UTF-8, without byte-order mark).
    `symbol` is the dotted name of the innermost definition that holds the whole
    chunk or begins in it first, "" if none; `defines` are the names defined in it.
    """

    start_byte: int
    end_byte: int
    start_line: int
    end_line: int
    symbol: str
    defines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChunkedFile:
    """A file cut into chunks that tile its text.

    `blob` is the digest of the stored text. `note` says why it was cut by lines
    although its language has a grammar, or is empty.
    """

    ref: FileRef
    blob: str
    language: str
    kind: FileKind
    text: bytes
    chunks: tuple[Chunk, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """What one stage sends to the next: ids only, and only a hint (the ledger is the truth).

    `key` is the number of a batch or job, or the name of a repository.
    """

    stage: str
    key: int | str
