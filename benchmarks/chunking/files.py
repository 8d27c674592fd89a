"""The files of a tree as Quarry reads them: without those it leaves out, decoded, their language and kind known."""

from dataclasses import dataclass
from pathlib import Path

from services.chunker.classify import kind_of, skip_by_text
from services.chunker.decode import decode
from services.chunker.languages import language_of
from services.chunker.walk import DirectorySource

_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file that Quarry indexes."""

    path: str
    language: str
    kind: str
    text: bytes


def read_files(root: Path) -> list[TreeFile]:
    """Return the files of a tree, by path.

    Raises:
        InvalidRequest: it can't be listed.
    """
    with DirectorySource(root) as source:
        refs, _ = source.files()
        read = zip(refs, source.read(refs), strict=True)
        found = (_file(ref.path, raw) for ref, raw in read if isinstance(raw, bytes))
        return [file for file in found if file is not None]


def _file(path: str, raw: bytes) -> TreeFile | None:
    text = decode(raw)
    if not isinstance(text, bytes) or skip_by_text(path, text):
        return None
    return TreeFile(path, language_of(path, text[:_HEAD_BYTES]), kind_of(path, text).value, text)
