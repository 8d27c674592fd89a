"""A whole index in memory: what the search, API and page tests run against."""

import ast
import threading
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import numpy as np

from services.api.search import Searcher
from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.digest import digest, point_id
from services.core.errors import CorruptData, InvalidRequest, NotFound
from services.core.ledger import JobState, Ledger
from services.core.manifest import Manifest, ManifestFile
from services.core.model import Chunk, ChunkedFile, FileKind, FileRef, Skipped
from services.core.pack import Pack, write_pack
from services.core.payload import from_payload, to_payload
from services.core.ports import Candidates, Filter, SparseRows
from services.core.sparse import sparse_documents
from services.core.texts import Texts

DIM = 64
_LANGUAGES = {"py": "python", "ts": "typescript", "md": "markdown", "go": "go", "rs": "rust", "toml": "toml", "c": "c"}


class MemoryBlobs:
    """Blobs in a dictionary; `damage` breaks one."""

    def __init__(self):
        self.data = {}

    def put(self, data):
        self.data[digest(data)] = data
        return digest(data)

    def get(self, name, start=0, length=None):
        if name not in self.data:
            raise NotFound(f"no blob {name}")
        data = self.data[name]
        if length is not None:
            return data[start : start + length]
        if digest(data) != name:
            raise CorruptData(f"blob {name} does not match its digest")
        return data

    def delete(self, name):
        self.data.pop(name, None)

    def digests(self):
        return list(self.data)

    def damage(self, name, at=20):
        data = bytearray(self.data[name])
        data[at] ^= 0xFF
        self.data[name] = bytes(data)


class WordEmbedder:
    """Texts that share words have similar vectors."""

    model_id = "words"
    dim = DIM

    def embed(self, texts):
        rows = np.zeros((len(texts), DIM), dtype=np.float32)
        for row, text in zip(rows, texts.texts, strict=True):
            for word in text.lower().split():
                row[int(digest(word.encode())[:8], 16) % DIM] += 1
            row[0] += 0.01
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class MemoryVectors:
    """Brute force over everything."""

    def __init__(self):
        self.points: dict[UUID, tuple] = {}
        self.retired: dict[UUID, int] = {}

    def upsert(self, points):
        for i, point in enumerate(points.ids):
            span = slice(points.sparse.indptr[i], points.sparse.indptr[i + 1])
            sparse = dict(zip(points.sparse.indices[span].tolist(), points.sparse.values[span].tolist(), strict=True))
            self.points[point] = (points.dense[i], sparse, points.payloads[i])

    def query(self, dense, sparse, where: Filter, limit):
        inside = [(p, *self.points[p]) for p in self.points if self._admits(p, where)]
        by_dense = [(p, float(vector @ dense)) for p, vector, _, _ in inside] if dense is not None else []
        by_sparse = self._sparse(inside, sparse) if sparse is not None else []
        return Candidates(*(sorted(r, key=lambda item: (-item[1], item[0]))[:limit] for r in (by_dense, by_sparse)))

    def payloads(self, ids):
        return {point: self.points[point][2] for point in ids if point in self.points}

    def count(self, where):
        return sum(self._admits(point, where) for point in self.points)

    def _sparse(self, inside, sparse):
        frequency = {}
        for _, _, terms, _ in inside:
            for term in terms:
                frequency[term] = frequency.get(term, 0) + 1
        query = dict(zip(sparse[0].tolist(), sparse[1].tolist(), strict=True))
        scores = []
        for point, _, terms, _ in inside:
            shared = query.keys() & terms.keys()
            if shared:
                n = len(inside)
                idf = {t: np.log(1 + (n - frequency[t] + 0.5) / (frequency[t] + 0.5)) for t in shared}
                scores.append((point, float(sum(idf[t] * query[t] * terms[t] for t in sorted(shared)))))
        return scores

    def _admits(self, point, where):
        payload = self.points[point][2]
        path = payload["path"]
        return (
            (not where.repos or payload["repo"] in where.repos)
            and (not where.languages or payload["lang"] in where.languages)
            and (where.paths is None or (payload["repo"], path) in where.paths)
            and (not where.path_prefixes or path.startswith(where.path_prefixes))
            and (not where.extensions or payload["ext"] in where.extensions)
            and payload["gen"] not in where.staged
            and self.retired.get(point) not in where.retired
        )


class FakeJobs:
    """Records what was asked for; a job stays queued until the test moves it."""

    def __init__(self, ledger, catalog):
        self.ledger, self.catalog = ledger, catalog
        self.submitted, self.looked = [], []
        self.lock = threading.Lock()

    def submit(self, location, name=None, ref=None):
        self.submitted.append((location, name, ref))
        name = name or location.rstrip("/").rpartition("/")[2]
        with self.lock:
            self.catalog.add(name, "directory", location, ref or "")
        return self.ledger.create_job(name).id

    def look(self, name):
        self.looked.append(self.catalog.get(name).name)
        return self.ledger.create_job(name).id

    def retry(self, job_id):
        job = self.ledger.job(job_id)
        if job.state is not JobState.FAILED:
            raise InvalidRequest(f"job {job_id} has not failed")
        return self.ledger.create_job(job.repo, job.ref).id

    def remove(self, name):
        self.catalog.get(name)
        self.catalog.remove(name)


class Index:
    """A searchable index; `add` commits a repository the way the indexer does."""

    def __init__(self, folder: Path):
        self.engine = open_database(folder / "quarry.db")
        self.catalog, self.ledger = Catalog(self.engine), Ledger(self.engine)
        self.blobs, self.vectors, self.embedder = MemoryBlobs(), MemoryVectors(), WordEmbedder()
        self.jobs = FakeJobs(self.ledger, self.catalog)
        self.searcher = Searcher(
            embedder=self.embedder,
            vectors=self.vectors,
            blobs=self.blobs,
            catalog=self.catalog,
            ledger=self.ledger,
        )

    def begin(self, repo, files: Mapping[str, str], *, revision="r1", source="", lines=8, first=None):
        """Write the points of a revision without committing it."""
        if repo not in [known.name for known in self.catalog.list()]:
            self.catalog.add(repo, "directory" if source.startswith("/") else "git", source or f"/src/{repo}", "")
        first = not self.catalog.get(repo).revision if first is None else first
        job = self.ledger.create_job(repo)
        refs = [FileRef(path, path, str(len(text)), len(text.encode())) for path, text in files.items()]
        self.ledger.start_job(job.id, revision=revision, schema="s", plan="", first=first, batches=[refs])
        chunked = [chunk_file(path, text, lines) for path, text in files.items()]
        name = self.blobs.put(write_pack(chunked))
        self._write_points(repo, name, job.id)
        pack = Pack(self.blobs.data[name])
        rows = [
            ManifestFile(f.path, f.fingerprint, f.blob, f.size, f.language, f.kind, f.note, name, "", f.first, f.count)
            for f in pack.files
        ]
        batch = self.ledger.batches(job.id)[0]
        self.ledger.chunked(batch.id, pack=name, chunks=len(pack.chunks), skipped=[])
        self.ledger.embedded(batch.id, vectors="", embedded=len(pack.chunks), cached=0)
        self.ledger.indexed({batch.id: rows})
        return self.ledger.job(job.id), rows

    def commit(self, job, rows, skipped=()):
        """Make a begun revision live."""
        manifest = Manifest(job.repo, job.revision, "s", tuple(sorted(rows, key=lambda r: r.path)), tuple(skipped))
        self.ledger.commit_job(job, self.catalog, manifest, manifest.store(self.blobs), {"files": len(rows)})
        self.ledger.cleaned(job.id)

    def add(self, repo, files: Mapping[str, str], *, skipped: tuple[Skipped, ...] = (), **options):
        """Index and commit a repository."""
        self.commit(*self.begin(repo, files, **options), skipped=skipped)
        return self.ledger.jobs(repo=repo, states=[JobState.DONE])[-1]

    def _write_points(self, repo, name, generation):
        from services.core.ports import Points

        pack = Pack(self.blobs.data[name])
        texts = Texts([text.decode() for text in pack.texts()])
        owners = [file for file in pack.files for _ in range(file.count)]
        sparse: SparseRows = sparse_documents(texts, [f.path for f in owners], [c.defines for c in pack.chunks])
        ids, payloads = [], []
        for number, (file, chunk) in enumerate(zip(owners, pack.chunks, strict=True)):
            ordinal = number - file.first
            ids.append(point_id(repo, file.path, file.blob, ordinal))
            payloads.append(to_payload(repo, file, chunk, ordinal=ordinal, pack=name, generation=generation))
            assert from_payload(payloads[-1]).path == file.path
        self.vectors.upsert(Points(ids, self.embedder.embed(texts), sparse, payloads))


def chunk_file(path: str, text: str, lines: int = 8) -> ChunkedFile:
    """Cut a file every few lines; Python's definitions are found."""
    data = text.encode()
    pieces = data.splitlines(keepends=True) or [b""]
    chunks, at = [], 0
    defined = _definitions(path, text)
    for start in range(0, len(pieces), lines):
        piece = b"".join(pieces[start : start + lines])
        last = min(start + lines, len(pieces))
        names = [(name, dotted) for line, name, dotted in defined if start < line <= last]
        symbol = names[0][1] if names else ""
        defines = tuple(name for name, _ in names)
        chunks.append(Chunk(at, at + len(piece), start + 1, last, symbol, defines))
        at += len(piece)
    ref = FileRef(path, path, str(len(data)), len(data))
    language = _LANGUAGES.get(path.rpartition(".")[2], "text")
    return ChunkedFile(ref, digest(data), language, _kind(path), data, tuple(chunks))


def _definitions(path, text):
    if not path.endswith(".py"):
        return []
    found = []

    def visit(node, scope):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                dotted = f"{scope}.{child.name}" if scope else child.name
                found.append((child.lineno, child.name, dotted))
                visit(child, dotted)

    visit(ast.parse(text), "")
    return found


def _kind(path):
    if "test" in path:
        return FileKind.TEST
    if path.endswith(".md"):
        return FileKind.DOCS
    return FileKind.EXAMPLE if "example" in path else FileKind.CODE
