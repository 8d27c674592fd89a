"""The API of the distributed mode: ``python -m services.distributed.web``."""

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

import waitress

from services.api.app import create_app
from services.api.guard import own_names
from services.api.search import Searcher
from services.core import log as logs
from services.core.catalog import Catalog, Schema
from services.core.collector import collect_rarely
from services.core.deliveries import Deliveries
from services.core.desk import Desk
from services.core.errors import QuarryError, Unavailable
from services.core.ports import Embedder
from services.core.settings import Settings
from services.core.wiring import (
    open_collections,
    open_embedder,
    open_reranker,
    open_served_cache,
    open_served_vectors,
    required,
    schema_of,
)
from services.distributed.jobs import QueuedJobs
from services.distributed.queue import CeleryQueue
from services.distributed.starting import Starting
from services.distributed.takeover import Takeover
from services.indexer.collection import prepare

log = logging.getLogger(__name__)

_RETRY_S = 2.0
# Searches wait for the vector store and the object store most of their time; each event stream holds a thread.
_THREADS = 16
# A webhook may take 25 MB, the application refuses anything else much earlier.
_MAX_BODY_BYTES = 26 << 20
# An idle connection costs a file descriptor; waitress's default of 100 would lock a team out.
_CONNECTIONS = 1000


def main() -> int:
    """Serve until told to stop; return the exit status."""
    logs.configure(verbose=True)
    collect_rarely()
    # The server ends by it, after the requests under way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings.from_env()
        required(settings, "database_url", "broker_url", "qdrant_url", "s3_url")
    except QuarryError as error:
        print(f"quarry: {error}", file=sys.stderr)
        return error.exit_status
    front = Starting()
    server = waitress.create_server(
        front,
        host=settings.host,
        port=settings.port,
        threads=_THREADS,
        max_request_body_size=_MAX_BODY_BYTES,
        connection_limit=_CONNECTIONS,
        ident="quarry",
    )
    print(f"Quarry listens on http://{settings.host}:{server.effective_port}", flush=True)
    threading.Thread(target=_make, args=(settings, front), name="start", daemon=True).start()
    server.run()
    return 0


def web_app(settings: Settings, desk: Desk, embedder: Embedder) -> Any:
    """Return the WSGI application.

    Raises:
        Unavailable: the vector store does not answer.
    """
    schema = Schema(schema_of(embedder), embedder.dim)
    catalog = Catalog(desk.engine, schema.name)
    collections = open_collections(settings)
    collection = prepare(collections, schema.name, schema.dim)
    searcher = Searcher(
        embedder=embedder,
        vectors=open_served_vectors(settings, collection, schema.dim),
        blobs=desk.blobs,
        catalog=catalog,
        ledger=desk.ledger,
        scan_timeout_s=settings.scan_timeout_s,
        schema=schema.name,
        reranker=open_reranker(settings, lambda: open_served_cache(settings)),
        rerank_depth=settings.rerank_depth,
    )
    return create_app(
        searcher,
        jobs=QueuedJobs(desk),
        catalog=catalog,
        ledger=desk.ledger,
        allowed_hosts=own_names(settings.host, settings.allowed_hosts),
        deliveries=Deliveries(desk.engine),
        webhook_secret=settings.webhook_secret,
        depths=desk.leases.depths,
        check_ready=Takeover(desk, schema, collections).check,
    )


def _make(settings: Settings, front: Starting) -> None:
    """Put the application behind `front` once the servers it needs answer; what is wrong for good ends the process."""
    while front.app is None:
        try:
            desk = Desk(settings, CeleryQueue(settings))
            front.app = web_app(settings, desk, open_embedder(settings, urgent=True))
        except Unavailable as error:
            front.waits_for = str(error)
            log.warning("waiting", extra={"for": str(error)})
            time.sleep(_RETRY_S)
        except QuarryError as error:
            print(f"quarry: {error}", file=sys.stderr, flush=True)
            os._exit(error.exit_status)
        except Exception:
            log.exception("not_started")
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
