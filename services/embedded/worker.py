"""A worker process: chunks and embeds one batch after the other, by id.

Orders come as JSON lines on standard input, the first one the settings; a line
on standard output answers each. Run as ``python -m services.embedded.worker``.
"""

import errno
import faulthandler
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TextIO

from services.chunker.git import GitSource
from services.chunker.source import Limits, open_source
from services.chunker.stage import chunk
from services.chunker.walk import DirectorySource
from services.core.database import open_database
from services.core.errors import Unavailable
from services.core.ledger import BatchState, Ledger
from services.core.model import Message
from services.core.pack import WrittenPack
from services.core.ports import BlobStore, Embedder, Source
from services.core.settings import Settings
from services.core.wiring import open_blobs, open_cache, open_embedder
from services.embedded.home import Home
from services.embedded.mark import Mark
from services.embedder.stage import embed

# A parser that runs away in memory must end its worker, not the machine; the largest file
# allowed by default needs under 300 MB with the costliest grammar.
_ADDRESS_SPACE_BYTES = 4 << 30


def main() -> None:
    """Work until standard input ends."""
    answers = _private_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides what an interrupt means
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    setup = json.loads(sys.stdin.readline())
    work = _worker(Settings.from_json(setup["settings"]), Mark(Path(setup["mark"])))
    for line in sys.stdin:
        order = json.loads(line)
        answers.write(json.dumps(_attempt(work, order)) + "\n")
        answers.flush()


@lru_cache(maxsize=1)
def load(settings: Settings) -> Embedder:
    """Return the embedder; called before a fork, all workers share it."""
    return open_embedder(settings)


def _private_stdout() -> TextIO:
    # Whatever prints must not end up between the answers.
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stream


def _attempt(work: Callable[[dict[str, Any]], None], order: dict[str, Any]) -> dict[str, Any]:
    try:
        work(order)
    except Unavailable as error:
        return {"error": str(error), "fatal": True}
    except MemoryError:
        return {"error": "out of memory", "fatal": False}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "fatal": _is_disk_full(error)}
    return {"error": "", "fatal": False}


def _is_disk_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _worker(settings: Settings, mark: Mark) -> Callable[[dict[str, Any]], None]:
    home = Home(settings.home)
    ledger = Ledger(open_database(home.database))
    blobs = LastPack(open_blobs(home.blobs))
    cache = open_cache(settings, home.cache)
    embedder = load(settings)
    sources = _Sources(Limits(max_file_bytes=settings.max_file_bytes))

    def watch(_index: int | None, locator: str) -> None:
        mark.set(None if _index is None else locator)

    def work(order: dict[str, Any]) -> None:
        batch = ledger.batch(order["batch"])
        source = sources.get(order["kind"], order["location"], order["revision"])
        stages = {
            "chunk": partial(chunk, ledger=ledger, blobs=blobs, source=source, watch=watch),
            "embed": partial(embed, ledger=ledger, blobs=blobs, cache=cache, embedder=embedder),
        }
        _run(stages, _ENTRY[batch.state], batch.id)

    return work


class LastPack:
    """A store of blobs that keeps the pack it stored last: what is chunked here is embedded here next."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._name, self._pack = "", WrittenPack()
        self.delete, self.digests = blobs.delete, blobs.digests

    def put(self, data: bytes) -> str:
        """Store `data` durably and return its digest."""
        name = self._blobs.put(data)
        if isinstance(data, WrittenPack):
            self._name, self._pack = name, data
        return name

    def get(self, digest: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a blob, or a range of it; raises as the store does."""
        if digest == self._name and not start and length is None:
            return self._pack
        return self._blobs.get(digest, start, length)


class _Sources:
    """The source of the last order, kept open: the next is mostly of the same."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[tuple[str, str, str], GitSource | DirectorySource] = {}

    def get(self, kind: str, location: str, revision: str) -> Source:
        """Return the source of a kind, location and revision."""
        key = (kind, location, revision)
        if key not in self._open:
            for source in self._open.values():
                source.close()
            self._open = {key: open_source(kind, location, revision, self._limits)}
        return self._open[key]


# Where a batch goes on that was interrupted: after the last stage whose work is on disk.
_ENTRY = {BatchState.PLANNED: "chunk", BatchState.CHUNKED: "embed", BatchState.EMBEDDED: "index"}


def _run(stages: Mapping[str, Callable[..., None]], stage: str, batch_id: int) -> None:
    inbox = [Message(stage, batch_id)]
    while inbox:
        message = inbox.pop()
        if message.stage in stages:
            stages[message.stage](int(message.key), emit=inbox.append)


if __name__ == "__main__":
    main()
