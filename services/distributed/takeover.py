"""When an API with another model may begin to answer: once it finds at least what the one before it finds."""

import threading

from services.core.catalog import Catalog, Schema
from services.core.collections import Collections
from services.core.desk import Desk
from services.core.errors import Unavailable
from services.indexer.collection import switch


class Takeover:
    """Holds readiness back until every repository that is live at all is live under `schema`.

    Once ready it stays so: a repository that the next model indexes first is none of its business.
    """

    def __init__(self, desk: Desk, schema: Schema, collections: Collections) -> None:
        self._desk = desk
        self._schema = schema
        self._collections = collections
        self._lock = threading.Lock()
        self._done = False

    def check(self) -> None:
        """Return if this API may answer; the alias of the vector store then stands for its collection.

        Raises:
            Unavailable: says how many repositories are not indexed for its model yet.
        """
        with self._lock:
            if self._done:
                return
            live = {repo.name for repo in self._desk.catalog.list() if repo.revision}
            mine = {repo.name for repo in Catalog(self._desk.engine, self._schema.name).list() if repo.revision}
            if live - mine:
                raise Unavailable(
                    f"{len(live - mine)} of {len(live)} repositories are not indexed for {self._schema.name!r} yet"
                )
            switch(self._collections, self._schema.name, self._schema.dim)
            self._done = True
