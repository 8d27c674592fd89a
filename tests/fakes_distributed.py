"""What the distributed mode runs on, in memory: git servers, blobs, points and a model that may fail at every step."""

from contextlib import nullcontext

import numpy as np

from services.chunker import split as splitter
from services.core.digest import digest
from services.core.errors import NotFound, Unreachable
from services.core.model import FileRef
from tests.fakes import MemoryBlobs

DIM = 8
POISON = b"POISON"


class Killed(BaseException):
    """A worker's process has ended here."""


class Faults:
    """What goes wrong: at the steps `killed_at`, at every step called `down`, and at a share of all steps, by kind."""

    def __init__(self, random=None, rates=None, *, killed_at=(), down=""):
        self.random, self.rates, self.killed_at, self.down = random, rates or {}, killed_at, down

    def of(self, number, name, kinds):
        if number in self.killed_at:
            return "killed"
        if name and name == self.down:
            return "unavailable"
        return next((kind for kind in kinds if self.rates.get(kind) and self.random.random() < self.rates[kind]), "")


class MemoryServers:
    """Git servers: each repository is a list of trees, the last of which is the tip."""

    def __init__(self, step):
        self.trees = {}
        self.gone = set()
        self._step = step

    def push(self, name, tree):
        self.trees.setdefault(name, []).append(dict(tree))

    def tip(self, repo):
        self._step("tip")
        self._check(repo)
        return self.revision(repo.name)

    def fetch(self, repo, ref):
        self._step("fetch")
        self._check(repo)
        if ref:
            raise NotFound(f"no ref {ref!r}")
        revision = self.revision(repo.name)
        tree = self.trees[repo.name][-1]
        self._step("fetch")
        return revision, nullcontext(MemorySource(tree))

    def revision(self, name):
        return f"{name}@{len(self.trees[name])}"

    def tree(self, revision):
        name, _, number = revision.rpartition("@")
        return self.trees[name][int(number) - 1]

    def _check(self, repo):
        if repo.name in self.gone:
            raise Unreachable(f"{repo.source!r} is gone")


class MemorySource:
    """A tree as a `Source`."""

    def __init__(self, tree):
        self._tree = tree

    def files(self):
        names = {path: digest(data) for path, data in sorted(self._tree.items())}
        return [FileRef(path, name, f"git:{name}", len(self._tree[path])) for path, name in names.items()], []

    def read(self, refs):
        return [self._tree[ref.path] for ref in refs]


class SteppingBlobs(MemoryBlobs):
    """Blobs whose readers and writers may be interrupted."""

    def __init__(self, step):
        super().__init__()
        self._step = step

    def put(self, data):
        self._step("put")
        name = super().put(data)
        self._step("put")
        return name

    def get(self, digest, start=0, length=None):
        self._step("get")
        return super().get(digest, start, length)


class SteppingVectors:
    """Points of a schema by id: (repository, path, generation, retired by)."""

    def __init__(self, step):
        self.points = {}
        self._step = step

    def upsert(self, points):
        for key, payload in zip(points.ids, points.payloads, strict=True):
            self._step("write")
            self.points[key] = (payload["repo"], payload["path"], payload["gen"], None)
        self._step("write")

    def retire(self, ids, generation):
        for key in ids:
            self._step("write")
            if key in self.points:
                self.points[key] = (*self.points[key][:3], generation)

    def purge(self, *, retired_by=None, generation=None, repo=None):
        wanted = ((3, retired_by), (2, generation), (0, repo))
        for place, value in wanted:
            doomed = [key for key, point in self.points.items() if value is not None and point[place] == value]
            for key in doomed:
                self._step("write")
                self.points.pop(key, None)
        self._step("write")

    def flush(self):
        self._step("write")


class SteppingEmbedder:
    """Unit vectors that depend on the text."""

    model_id, dim = "model-1", DIM

    def __init__(self, step):
        self._step = step

    def embed(self, texts):
        self._step("embed")
        seeds = [int(digest(each.encode())[:8], 16) for each in texts.texts]
        rows = np.array([np.random.default_rng(seed).standard_normal(DIM) for seed in seeds], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def split(content, language, *, parse=True):
    """Split, but for the file that no worker survives."""
    if POISON in content:
        raise ValueError("poison")
    return splitter.split(content, language, parse=parse)
