"""Chunks as the vector store gives them back, for tests of ranking."""

from services.core.pack import TextSpan
from services.core.payload import StoredChunk


def chunk(path="src/a.py", *, repo="r", kind="code", symbol="", defines=(), ordinal=0):
    span = TextSpan(0, 1, 1, "")
    return StoredChunk(repo, path, "python", kind, symbol, tuple(defines), 1, 9, 0, 9, ordinal, "p", span)
