"""What the embedder does with a message."""

from functools import cached_property

from services.core.catalog import Schema
from services.core.desk import Desk, Tasks
from services.core.errors import InvalidRequest, Unavailable
from services.core.keeper import Hold
from services.core.leases import Priority
from services.core.ledger import BatchState
from services.core.ports import Embedder, EmbeddingCache, Emit
from services.core.wiring import open_embedder, open_served_blobs, open_served_cache, schema_of
from services.embedder.stage import embed


def embedder_tasks(desk: Desk, embedder: Embedder | None = None, cache: EmbeddingCache | None = None) -> Tasks:
    """Return the stage of the embedder, with the given parts or those of the settings."""
    return {"embed": _Embedding(desk, embedder, cache).embed}


def prepare(desk: Desk) -> None:
    """Make the model of the settings the one that everything is indexed for.

    What talks to the stores is loaded here too, once for all processes that are forked off.

    Raises:
        Unavailable: it can't be loaded, or its server does not answer.
    """
    open_served_blobs(desk.settings)
    open_served_cache(desk.settings)
    embedder = open_embedder(desk.settings)
    desk.catalog.register_schema(Schema(schema_of(embedder), embedder.dim))


class _Embedding:
    def __init__(self, desk: Desk, embedder: Embedder | None, cache: EmbeddingCache | None) -> None:
        self._desk = desk
        self._given = (embedder, cache)

    @cached_property
    def _embedder(self) -> Embedder:
        given = self._given[0]
        return open_embedder(self._desk.settings) if given is None else given

    @cached_property
    def _cache(self) -> EmbeddingCache:
        given = self._given[1]
        return open_served_cache(self._desk.settings) if given is None else given

    def embed(self, batch_id: int, priority: Priority) -> None:
        def work(_hold: Hold, emit: Emit) -> None:
            self._check_model(batch_id)
            ledger, blobs = self._desk.ledger, self._desk.blobs
            embed(batch_id, ledger=ledger, blobs=blobs, cache=self._cache, embedder=self._embedder, emit=emit)

        self._desk.on_batch(batch_id, BatchState.CHUNKED, priority, work)

    def _check_model(self, batch_id: int) -> None:
        """Refuse a batch of a job for another model.

        Raises:
            InvalidRequest: that model has been given up meanwhile.
            Unavailable: it is a newer one, whose embedders take it.
        """
        wanted = self._desk.ledger.job(self._desk.ledger.batch(batch_id).job).schema
        mine = schema_of(self._embedder)
        if wanted == mine:
            return
        if self._desk.active_schema().name == mine:
            raise InvalidRequest(f"the model changed to {mine!r} while this was indexed for {wanted!r}")
        raise Unavailable(f"this embedder is for {mine!r}, the batch for {wanted!r}")
