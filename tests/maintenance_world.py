"""The distributed mode in one process, for rebuilding, checking and collecting: its vector store can be listed."""

from collections import Counter

from services.core.catalog import Catalog
from services.core.census import StoredPoint
from services.core.collections import ALIAS, collection_name
from services.core.ledger import Cleanup
from services.core.manifest import Manifest
from services.indexer.fsck import find_problems
from services.indexer.fsck_ledger import find_ledger_problems
from services.indexer.restore import rebuild_all
from services.indexer.stores import Stores
from tests.distributed_world import NEW, World, deliver_until
from tests.fakes_distributed import DIM, Faults, SteppingVectors


class ListedVectors(SteppingVectors):
    """Points that can be listed, with the pack that each names."""

    def __init__(self, step):
        super().__init__(step)
        self.packs = {}

    def upsert(self, points):
        for key, payload in zip(points.ids, points.payloads, strict=True):
            self.packs[key] = payload["pack"]
        super().upsert(points)

    def scroll(self, repo):
        for key, (name, _path, generation, retired) in list(self.points.items()):
            if name == repo:
                yield StoredPoint(key, generation, retired, self.packs[key])

    def repos(self):
        return Counter(point[0] for point in self.points.values())


class MemoryCollections:
    """Collections that are names only."""

    def __init__(self, *names):
        self.there = set(names)
        self.aliases = {}

    def names(self):
        return sorted(self.there)

    def behind(self, alias):
        return self.aliases.get(alias)

    def create(self, name, dim):
        self.there.add(name)

    def point_alias(self, alias, collection):
        self.aliases[alias] = collection

    def drop(self, name):
        self.there.discard(name)


class ListedWorld(World):
    """A world whose vector store can be listed."""

    def __init__(self, folder, url="", **how):
        super().__init__(folder, url, **how)
        self.vectors = ListedVectors(self.step)
        self.collections = MemoryCollections(collection_name(self.schema, DIM))
        self.collections.point_alias(ALIAS, collection_name(self.schema, DIM))

    @property
    def stores(self):
        return Stores(self.collections, {self.schema: self.vectors})

    def rebuild(self, name=None, wait_s=0.0):
        """Rebuild as a process of its own would, and return the results."""
        return list(rebuild_all(self._desk(), self.stores, name, wait_s=wait_s))

    def problems(self, name=None, *, read_data=True):
        """Return what a check finds, as text."""
        with self._quietly():
            return [f"{p.where}: {p.what}" for p in find_problems(self.desk, self.stores, name, read_data=read_data)]

    def killed_rebuild(self, step):
        """Rebuild in a process that is killed at its step of that number; False if it has fewer."""
        self.faults, ended = Faults(killed_at=(self.steps + step,)), self.happened["ended"]
        with self._process():
            self.rebuild()
        self.faults = Faults()
        return self.happened["ended"] > ended

    def unclean(self):
        """Return the jobs that have points left to remove."""
        return self.ledger.jobs(cleanups=(Cleanup.RETIRED, Cleanup.STAGED))


def manifest(world, name):
    return Manifest.load(world.blobs, Catalog(world.engine, world.schema).get(name).manifest)


def spoil(world, how):
    """Damage what is stored of repository "one"."""
    points, live = world.vectors.points, manifest(world, "one").files[0]
    key = next(key for key in live.point_ids("one"))
    repo, path, _, _ = points[key]
    if how == "missing":
        del points[key]
    elif how == "extra":
        other = type(key)(int=1)
        points[other], world.vectors.packs[other] = (repo, path, 1, None), ""
    elif how == "stranger":
        other = type(key)(int=1)
        points[other], world.vectors.packs[other] = ("gone", path, 1, None), ""
    elif how == "generation":
        points[key] = (repo, path, 1000, None)
    elif how == "pack name":
        world.vectors.packs[key] = "0" * 64
    elif how == "hidden":
        running = world.ask("one", NEW)
        deliver_until(world, "chunk")
        points[key] = (repo, path, running, None)
    elif how == "manifest":
        del world.blobs.stored[Catalog(world.engine, world.schema).get("one").manifest]
    else:
        kind, _, damage = how.partition(" ")
        digest = getattr(live, kind)
        world.blobs.stored[digest] = b"x" if damage == "damaged" else b""
        if damage == "gone":
            del world.blobs.stored[digest]


def ledger_problems(world, removing=(), seen_at=0.0):
    return list(find_ledger_problems(world.desk, removing, seen_at, lambda _: None))
