"""Everything the owner of a data directory has open, each part imported and opened when it is first needed."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from services.api.barrier import ReadBarrier
from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.errors import CorruptData
from services.core.ledger import STARTED_STATES, Cleanup, Ledger
from services.core.ports import BlobStore, Embedder, Filter
from services.core.settings import Settings
from services.core.wiring import index_schema, open_blobs, open_cache, open_embedder, open_reranker, open_vectors
from services.embedded.home import Home

if TYPE_CHECKING:
    from services.api.search import Searcher
    from services.core.adapters.vectors import EdgeVectors

T = TypeVar("T")


class _Part(Generic[T]):
    """An attribute that is made once, whichever threads ask for it; `cached_property` takes no lock any more."""

    def __init__(self, make: Callable[["Owner"], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, owner: "Owner", _kind: type["Owner"]) -> T:
        with owner.opening:
            if self._name not in owner.__dict__:
                owner.__dict__[self._name] = self._make(owner)
            made: T = owner.__dict__[self._name]
        return made


class Owner:
    """An owned data directory. Use `close` when done; the lock then goes to whoever asks next.

    Raises:
        Unavailable: another process owns the directory.
        CorruptData: its catalog is damaged or gone.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.settings = settings
        self.home = home
        self.opening = threading.RLock()  # one for all parts: they need each other
        _check_catalog(home)
        self.engine = open_database(home.database)
        self.catalog = Catalog(self.engine)
        self.ledger = Ledger(self.engine)
        self.barrier = ReadBarrier()

    @_Part
    def blobs(self) -> BlobStore:
        """Return the store of packs, vectors and manifests."""
        return open_blobs(self.home.blobs)

    @_Part
    def embedder(self) -> Embedder:
        """Return the embedder of queries; the workers have their own."""
        return open_embedder(self.settings)

    @_Part
    def schema(self) -> str:
        """Return what the points of an index depend on: points of different schemas can't be compared."""
        return index_schema(self.settings)

    @_Part
    def vectors(self) -> "EdgeVectors":
        """Return the vector store, with what interrupted jobs left in it cleaned up."""
        from services.indexer.commit import purge_unindexed

        store = open_vectors(self.settings, self.home.vectors(self.schema), self.embedder.dim)
        self._clean_up(store)
        purge_unindexed(ledger=self.ledger, catalog=self.catalog, vectors=store)
        return store

    @_Part
    def searcher(self) -> "Searcher":
        """Return the search over all of it."""
        from services.api.search import Searcher

        self._check_points()
        return Searcher(
            embedder=self.embedder,
            vectors=self.vectors,
            blobs=self.blobs,
            catalog=self.catalog,
            ledger=self.ledger,
            barrier=self.barrier,
            scan_timeout_s=self.settings.scan_timeout_s,
            schema=self.schema,
            reranker=open_reranker(self.settings, lambda: open_cache(self.settings, self.home.cache)),
            rerank_depth=self.settings.rerank_depth,
        )

    def live_points(self, repo: str) -> int:
        """Return how many points of a repository a search may see now."""
        fences = self.ledger.fences()
        return self.vectors.count(Filter(repos=(repo,), staged=fences.staged, retired=fences.retired))

    def settle(self) -> None:
        """Return once what was written is in its lasting form: the next to open it would have to do it."""
        if "vectors" in self.__dict__:
            self.vectors.settle()

    def close(self) -> None:
        """Close what was opened and give the directory back."""
        with self.opening:
            if "vectors" in self.__dict__:
                self.vectors.close()
            self.engine.dispose()
            self.home.release()

    def _check_points(self) -> None:
        """Refuse to search a store that lacks points: after a rebuild that was cut short, say.

        Raises:
            CorruptData: the store has not as many points as the catalog has chunks.
        """
        points = self.vectors.count(Filter())
        if self.ledger.jobs(states=STARTED_STATES):
            return  # what these have written so far is in no catalog
        chunks = sum(repo.chunks for repo in self.catalog.list() if repo.schema == self.schema)
        if points != chunks:
            raise CorruptData(
                f"the vector store of {str(self.home.root)!r} has {points} points, the catalog {chunks} chunks; "
                "run 'quarry rebuild'"
            )

    def _clean_up(self, store: "EdgeVectors") -> None:
        from services.indexer.commit import clean_up

        for job in self.ledger.jobs(cleanups=(Cleanup.RETIRED, Cleanup.STAGED)):
            if job.schema == self.schema:
                clean_up(job, ledger=self.ledger, vectors=store)
            elif not self.home.vectors(job.schema).exists():
                # Its points lay in the store of another schema, which is gone; else they wait until that is opened.
                self.ledger.cleaned(job.id)


def _check_catalog(home: Home) -> None:
    # SQLite would make an empty one, and the index would seem to be empty too.
    gone = not home.database.exists() or not home.database.stat().st_size
    if gone and home.blobs.is_dir() and any(home.blobs.iterdir()):
        raise CorruptData(
            f"{str(home.database)!r} is missing or empty, though there are blobs beside it; "
            "bring it back from a backup, or remove the data directory and index again"
        )
