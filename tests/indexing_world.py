"""A small world for tests of the indexer: a real ledger, catalog and vector store, blobs in memory."""

import shutil

import numpy as np

from services.core.adapters.edge_layout import copy_shard
from services.core.adapters.vectors import EdgeVectors
from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.digest import digest
from services.core.ledger import Ledger
from services.core.manifest import Manifest
from services.core.model import Skipped, SkipReason
from services.core.pack import write_pack
from services.core.ports import Filter, SparseRows
from services.core.vector_blob import VectorBlob
from services.indexer.commit import commit
from services.indexer.stage import acknowledge, index, live_files
from tests.fakes import MemoryBlobs, chunked_file

DIM = 8
MODEL = "model-1"
SCHEMA = f"splitter/sparse/{MODEL}"


class World:
    """Files are given as path → texts of the chunks; a file is kept if its fingerprint is the live one."""

    def __init__(self, directory, shard_points=100_000):
        self.directory = directory
        self.shard_points = shard_points
        self.engine = open_database(directory / "catalog.db")
        self.ledger, self.catalog = Ledger(self.engine), Catalog(self.engine)
        self.blobs = MemoryBlobs()
        self.crashes = 0
        self.open()

    def open(self):
        self.vectors = EdgeVectors(
            self.directory / f"vectors{self.crashes}", DIM, shard_points=self.shard_points, exact_points=100_000
        )

    def close(self):
        self.vectors.close()
        self.engine.dispose()

    def crash(self):
        """Go on with what the vector store had on disk when its process was killed: now."""
        before = self.directory / f"vectors{self.crashes}"
        self.crashes += 1
        after = self.directory / f"vectors{self.crashes}"
        after.mkdir()
        for path in before.iterdir():
            if path.is_dir():
                copy_shard(path, after / path.name)
            for file in path.iterdir() if path.is_dir() else (path,):
                if file.is_file():
                    shutil.copy(file, after / file.relative_to(before))
        self.vectors.close()
        self.open()

    @property
    def parts(self):
        return {"ledger": self.ledger, "catalog": self.catalog, "blobs": self.blobs, "vectors": self.vectors}

    def start(self, files, *, repo="r", revision="1", schema=SCHEMA, fingerprints=None, per_batch=2):
        """Start a job with one batch of `per_batch` files after the other, all embedded; return the job."""
        self.catalog.add(repo, "git", f"/src/{repo}", "")
        chunked = [chunked_file(p, texts, (fingerprints or {}).get(p) or _hash(texts)) for p, texts in files.items()]
        kept, changed = self._plan(repo, schema, chunked)
        plan = Manifest(repo, revision, schema, tuple(kept), (Skipped("z.bin", SkipReason.BINARY),))
        job = self.ledger.create_job(repo)
        parts = [changed[i : i + per_batch] for i in range(0, len(changed), per_batch)]
        self.ledger.start_job(
            job.id,
            revision=revision,
            schema=schema,
            plan=plan.store(self.blobs),
            first=not self._live(repo, schema),
            batches=[[file.ref for file in part] for part in parts],
        )
        for batch, part in zip(self.ledger.batches(job.id), parts, strict=True):
            self._embed(batch.id, part)
        return self.ledger.job(job.id)

    def index_all(self, job):
        """Index and acknowledge every batch of the job."""
        live = live_files(job, catalog=self.catalog, blobs=self.blobs)
        stores = {"ledger": self.ledger, "blobs": self.blobs, "vectors": self.vectors}
        results = {b.id: index(b.id, live=live, **stores) for b in self.ledger.batches(job.id)}
        acknowledge(results, ledger=self.ledger, vectors=self.vectors)

    def put(self, files, **how):
        """Bring a repository to `files`: start, index, commit; return the job."""
        job = self.start(files, **how)
        self.index_all(job)
        commit(job.id, **self.parts)
        return self.ledger.job(job.id)

    def visible(self, fences=None, repo=None):
        """What a search sees, as sorted (repo, path, digest of the chunk)."""
        fences = fences or self.ledger.fences()
        where = Filter(staged=fences.staged, retired=fences.retired, repos=(repo,) if repo else ())
        hits = self.vectors.query(np.ones(DIM, np.float32), None, where, 10_000).dense
        payloads = self.vectors.payloads([point for point, _ in hits]).values()
        return sorted((p["repo"], p["path"], p["digest"]) for p in payloads)

    def _live(self, repo, schema):
        row = self.catalog.get(repo)
        return Manifest.load(self.blobs, row.manifest) if row.manifest and row.schema == schema else None

    def _plan(self, repo, schema, chunked):
        live = self._live(repo, schema)
        known = {(f.path, f.fingerprint): f for f in live.files} if live else {}
        kept = [known[f.ref.path, f.ref.fingerprint] for f in chunked if (f.ref.path, f.ref.fingerprint) in known]
        return kept, [f for f in chunked if (f.ref.path, f.ref.fingerprint) not in known]

    def _embed(self, batch_id, files):
        rows = sum(len(file.chunks) for file in files)
        self.ledger.chunked(batch_id, pack=self.blobs.put(write_pack(files)), chunks=rows, skipped=[])
        vectors = self.blobs.put(vector_blob(rows).pack())
        self.ledger.embedded(batch_id, vectors=vectors, embedded=rows, cached=0)


def vector_blob(rows, model=MODEL):
    """Vectors for `rows` chunks; row i has the one term i."""
    dense = np.random.default_rng(rows).standard_normal((rows, DIM)).astype(np.float32)
    sparse = SparseRows(np.arange(rows + 1), np.arange(rows, dtype=np.uint32), np.ones(rows, np.float32))
    return VectorBlob(model, dense, sparse)


def expected(files, repo="r"):
    """What a search over exactly `files` sees."""
    return sorted((repo, path, digest(text.encode())) for path, texts in files.items() for text in texts)


def _hash(texts):
    return digest("".join(texts).encode())
