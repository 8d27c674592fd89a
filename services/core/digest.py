"""Content addresses: a digest is BLAKE3-256 written as 64 hex digits."""

import uuid

from blake3 import blake3


def digest(data: bytes | memoryview) -> str:
    """Return the BLAKE3-256 digest of `data`, 64 hex digits."""
    return blake3(data).hexdigest()


def point_id(repo: str, path: str, blob: str, ordinal: int) -> uuid.UUID:
    """Return the id of the point of chunk `ordinal` of the file with content digest `blob`.

    It depends on the file's content, so that a chunk whose lines moved never
    overwrites the point that is live until the new revision is committed.
    """
    key = f"{repo}\0{path}\0{blob}\0{ordinal}".encode()
    return uuid.UUID(bytes=blake3(key).digest(16))
