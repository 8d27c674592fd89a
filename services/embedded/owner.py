"""Everything the owner of a data directory has open, each part imported and opened when it is first needed."""

from functools import cached_property
from typing import TYPE_CHECKING

from services.api.barrier import ReadBarrier
from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.ledger import Cleanup, Ledger
from services.core.ports import BlobStore, Embedder
from services.core.settings import Settings
from services.core.wiring import index_schema, open_blobs, open_embedder, open_vectors
from services.embedded.home import Home

if TYPE_CHECKING:
    from services.api.search import Searcher
    from services.core.adapters.vectors import EdgeVectors


class Owner:
    """An owned data directory. Use `close` when done; the lock then goes to whoever asks next.

    Raises:
        Unavailable: another process owns the directory.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.settings = settings
        self.home = home
        self.engine = open_database(home.database)
        self.catalog = Catalog(self.engine)
        self.ledger = Ledger(self.engine)
        self.barrier = ReadBarrier()

    @cached_property
    def blobs(self) -> BlobStore:
        """Packs, vectors and manifests."""
        return open_blobs(self.home.blobs)

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder of queries; the workers have their own."""
        return open_embedder(self.settings)

    @cached_property
    def schema(self) -> str:
        """What the points of an index depend on: points of different schemas can't be compared."""
        return index_schema(self.settings)

    @cached_property
    def vectors(self) -> "EdgeVectors":
        """The vector store, with what an interrupted job left behind cleaned up."""
        from services.indexer.commit import clean_up, purge_unindexed

        store = open_vectors(self.settings, self.home.vectors(self.schema), self.embedder.dim)
        for job in self.ledger.jobs(cleanups=(Cleanup.RETIRED, Cleanup.STAGED)):
            clean_up(job, ledger=self.ledger, vectors=store)
        purge_unindexed(ledger=self.ledger, catalog=self.catalog, vectors=store)
        return store

    @cached_property
    def searcher(self) -> "Searcher":
        """The search over all of it."""
        from services.api.search import Searcher

        return Searcher(
            embedder=self.embedder,
            vectors=self.vectors,
            blobs=self.blobs,
            catalog=self.catalog,
            ledger=self.ledger,
            barrier=self.barrier,
            scan_timeout_s=self.settings.scan_timeout_s,
        )

    def settle(self) -> None:
        """Return once what was written is in its lasting form: the next to open it would have to do it."""
        if "vectors" in self.__dict__:
            self.vectors.settle()

    def close(self) -> None:
        """Close what was opened and give the directory back."""
        if "vectors" in self.__dict__:
            self.vectors.close()
        self.engine.dispose()
        self.home.release()
