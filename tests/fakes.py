"""In-memory stand-ins for the ports: real behaviour, nothing recorded, nothing mocked."""

from services.core.digest import digest
from services.core.errors import CorruptData, NotFound
from services.core.model import Chunk, ChunkedFile, FileKind, FileRef


class MemoryBlobs:
    """A BlobStore in a dictionary; `age` makes what is there older."""

    def __init__(self):
        self.stored = {}
        self.ages = {}

    def put(self, data):
        key = digest(data)
        self.stored[key] = bytes(data)
        self.ages[key] = 0.0
        return key

    def age(self, seconds):
        self.ages = {key: age + seconds for key, age in self.ages.items()}

    def get(self, digest, start=0, length=None):
        if digest not in self.stored:
            raise NotFound(f"no blob {digest!r}")
        data = self.stored[digest]
        end = len(data) if length is None else start + length
        if end > len(data):
            raise CorruptData(f"blob {digest!r} is shorter than {end} bytes")
        return data[start:end]

    def delete(self, digest, *, older_than_s=0.0):
        if self.ages.get(digest, 0.0) >= older_than_s:
            self.stored.pop(digest, None)

    def digests(self, *, older_than_s=0.0):
        return [key for key in list(self.stored) if self.ages.get(key, 0.0) >= older_than_s]


def chunked_file(path="a.py", texts=("one\n", "two\n"), fingerprint="git:1", defines=()):
    """A ChunkedFile whose chunks are `texts`, a line each."""
    text = "".join(texts).encode()
    chunks, at, line = [], 0, 1
    for piece in texts:
        size, lines = len(piece.encode()), piece.count("\n")
        chunks.append(Chunk(at, at + size, line, line + max(lines - 1, 0), "", tuple(defines)))
        at, line = at + size, line + lines
    ref = FileRef(path, path, fingerprint, len(text))
    return ChunkedFile(ref, digest(text), "python", FileKind.CODE, text, tuple(chunks))


def set_back(ledger, batch_id, state):
    """Put a batch into `state`, which the ledger itself never does backwards."""
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE batches SET state = ? WHERE id = ?", (state, batch_id))
