"""What a revision of a repository consists of: its files, where their chunks lie, and what was left out.

The manifest of the live revision is what the next one is compared with, what
`exact` search walks, and what answers "why is my file not found?".
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from operator import attrgetter
from uuid import UUID

import zstandard

from services.core.digest import point_id
from services.core.errors import CorruptData
from services.core.model import Skipped, SkipReason
from services.core.ports import BlobStore

# A manifest of a million files is about 200 MB of JSON; beyond that something is wrong.
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """An indexed file: chunks ``first`` to ``first + count - 1`` of `pack`, their vectors in `vectors`."""

    path: str
    fingerprint: str
    blob: str
    size: int
    language: str
    kind: str
    note: str
    pack: str
    vectors: str
    first: int
    count: int

    def point_ids(self, repo: str) -> Iterator[UUID]:
        """Yield the ids of the file's points."""
        return (point_id(repo, self.path, self.blob, i) for i in range(self.count))


_row = attrgetter(*(f.name for f in fields(ManifestFile)))


@dataclass(frozen=True, slots=True)
class Manifest:
    """One revision of one repository; files and skipped files are sorted by path.

    `schema` names the chunker and the model: points of different schemas can't be compared.
    """

    repo: str
    revision: str
    schema: str
    files: tuple[ManifestFile, ...] = ()
    skipped: tuple[Skipped, ...] = field(default=())

    @property
    def chunks(self) -> int:
        """Number of chunks of all files."""
        return sum(file.count for file in self.files)

    def skip_counts(self) -> dict[str, int]:
        """Return the number of skipped files by reason, most frequent first."""
        return dict(Counter(s.reason.value for s in self.skipped).most_common())

    def store(self, blobs: BlobStore) -> str:
        """Write the manifest and return its digest; equal manifests have equal digests."""
        document = {
            "repo": self.repo,
            "revision": self.revision,
            "schema": self.schema,
            "files": [_row(f) for f in self.files],
            "skipped": [[s.path, s.reason.value, s.detail] for s in self.skipped],
        }
        raw = json.dumps(document, separators=(",", ":")).encode()
        return blobs.put(zstandard.ZstdCompressor(level=3).compress(raw))

    @classmethod
    def load(cls, blobs: BlobStore, digest: str) -> "Manifest":
        """Read a manifest.

        Raises:
            NotFound: it is not there.
            CorruptData: it can't be read.
        """
        data = blobs.get(digest)
        try:
            document = json.loads(zstandard.ZstdDecompressor().decompress(data, max_output_size=_MAX_BYTES))
            return cls(
                document["repo"],
                document["revision"],
                document["schema"],
                tuple(ManifestFile(*row) for row in document["files"]),
                tuple(Skipped(path, SkipReason(reason), detail) for path, reason, detail in document["skipped"]),
            )
        except (zstandard.ZstdError, ValueError, KeyError, TypeError) as error:
            raise CorruptData(f"manifest {digest!r} can't be read: {error}") from error
