"""The `triton` embedder: MiniLM in Triton Inference Server, the tokeniser here.

Texts are tokenised window by window, padded to buckets and sent in requests within a budget of tokens, several
of them under way: while the server computes one, the next is prepared and the one before is checked.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from services.core.adapters.minilm_tokenizer import open_tokenizer, padded, tokens_of
from services.core.adapters.triton_answer import vectors_of
from services.core.adapters.triton_calls import Connection, Meaning, Patience, described, infer_request, meaning
from services.core.adapters.triton_model import (
    BUCKETS,
    BULK_PRIORITY,
    QUERY_PRIORITY,
    Served,
    served,
    version_of,
)
from services.core.batch import TokenBudget, bucket_batches
from services.core.errors import Unavailable
from services.core.model_files import Identity
from services.core.texts import Texts

log = logging.getLogger(__name__)

# Tokenised at once: enough to fill the buckets, little enough that the first request leaves after 0.2 s.
_WINDOW_TEXTS = 512


@dataclass(frozen=True, slots=True)
class Calls:
    """How an embedder calls: what is urgent waits in another queue, and not for long.

    deadline_s: of one request, in the server's queue and in the model.
    patience_s: of one request with all its attempts.
    budget_tokens: of one request, padding included; 32 texts of full length by default.
    in_flight: requests under way at once, for each thread that embeds.
    """

    priority: int
    deadline_s: float
    patience_s: float
    budget_tokens: int = 8192
    in_flight: int = 4


BULK = Calls(BULK_PRIORITY, deadline_s=30.0, patience_s=120.0)
QUERY = Calls(QUERY_PRIORITY, deadline_s=2.0, patience_s=2.0)


@dataclass(slots=True)
class _Batch:
    """Texts of one bucket on their way: `rows` says where their vectors go."""

    rows: list[int]
    tokens: list[list[int]]
    bucket: int
    patience: Patience
    answer: grpc.Future | None = None


class TritonEmbedder:
    """A model in a Triton server; safe for threads, and nothing is sent before it is used.

    `expected` is what the server must serve; without it the first answer decides, and asking for the id waits
    for the server. Whatever was decided holds for the life of the embedder: another model is refused.

    Raises:
        CorruptData: the tokeniser can't be read.
    """

    def __init__(self, target: str, tokenizer: Path, *, expected: Identity | None = None, calls: Calls = BULK) -> None:
        self._connection = Connection(target)
        self._tokenizer = open_tokenizer(tokenizer)
        self._calls = calls
        self._budget = TokenBudget(calls.budget_tokens)
        self._identity = expected
        self._lock = threading.Lock()
        # None after every failure: the server may have come back with something else.
        self._served: Served | None = None

    @property
    def model_id(self) -> str:
        """Name of the model with the digest of its weights."""
        return self._known().model_id

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._known().dim

    def check(self) -> None:
        """Return if the server answers and serves the model.

        Raises:
            Unavailable: it does not, or serves another one.
        """
        try:
            self._meet(self._calls.deadline_s)
        except grpc.RpcError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def embed(self, texts: Texts) -> np.ndarray:
        """Return float32[len(texts), dim], unit rows; only the first 256 tokens of a text count.

        Raises:
            Unavailable: the server does not answer in time, serves another model, or returns what are no vectors.
        """
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        flying: deque[_Batch] = deque()
        try:
            for batch in self._batches(texts):
                if len(flying) >= self._calls.in_flight:
                    self._land(flying.popleft(), vectors)
                self._send(batch)
                flying.append(batch)
            while flying:
                self._land(flying.popleft(), vectors)
        finally:
            for batch in flying:
                if batch.answer is not None:
                    batch.answer.cancel()
        return vectors

    def _batches(self, texts: Texts) -> Iterator[_Batch]:
        for start in range(0, len(texts), _WINDOW_TEXTS):
            window = tokens_of(self._tokenizer, texts.texts[start : start + _WINDOW_TEXTS])
            for bucket, numbers in bucket_batches([len(tokens) for tokens in window], BUCKETS, self._fitting):
                rows = [start + number for number in numbers]
                yield _Batch(rows, [window[number] for number in numbers], bucket, self._patience())

    def _fitting(self, bucket: int) -> int:
        return min(self._budget.texts_of(bucket), self._joined().max_texts)

    def _land(self, batch: _Batch, vectors: np.ndarray) -> None:
        """Wait for a batch, sending it again as often as it takes, and fill its rows of `vectors`."""
        identity = self._known()
        while True:
            try:
                if batch.answer is None:
                    self._meet(batch.patience.deadline_s(self._calls.deadline_s))
                    self._send(batch)
                rows = vectors_of(_taken(batch).result(), len(batch.rows), identity)
                break
            except grpc.RpcError as error:
                self._served = None
                what = meaning(error)
                if what is Meaning.SHRINK and len(batch.rows) > 1:
                    return self._land_halves(batch, vectors)
                if what is not Meaning.RETRY:
                    raise self._refused(error) from error
                batch.patience.wait(error)
        vectors[batch.rows] = rows
        self._budget.taken()

    def _land_halves(self, batch: _Batch, vectors: np.ndarray) -> None:
        self._budget.refused(len(batch.rows) * batch.bucket)
        log.warning(
            "triton_batch_halved",
            extra={"texts": len(batch.rows), "tokens_each": batch.bucket, "budget_tokens": self._budget.tokens},
        )
        middle = len(batch.rows) // 2
        for part in (slice(None, middle), slice(middle, None)):
            half = _Batch(batch.rows[part], batch.tokens[part], batch.bucket, self._patience())
            self._land(half, vectors)

    def _send(self, batch: _Batch) -> None:
        request = infer_request(
            version_of(self._known().model_id), self._calls.priority, padded(batch.tokens, batch.bucket)
        )
        batch.answer = self._connection.infer(request, batch.patience.deadline_s(self._calls.deadline_s))

    def _known(self) -> Identity:
        return self._identity or self._joined().identity

    def _joined(self) -> Served:
        """Return what is served, asking as long as the patience lasts."""
        patience = self._patience()
        while True:
            try:
                return self._meet(patience.deadline_s(self._calls.deadline_s))
            except grpc.RpcError as error:
                patience.wait(error)

    def _meet(self, deadline_s: float) -> Served:
        """Ask what is served, unless it was asked since the last failure, and compare it with what it must be."""
        if (known := self._served) is not None:
            return known
        found = served(self._connection.config(deadline_s))
        # Not held during the call: one slow answer would hold up every thread.
        with self._lock:
            self._identity = self._identity or found.identity
        if self._identity != found.identity:
            raise Unavailable(
                f"triton at {self._connection.target!r} serves {found.identity.model_id!r} of {found.identity.dim} "
                f"dimensions, needed is {self._identity.model_id!r} of {self._identity.dim}; vectors of two models "
                "can't be mixed: serve the right one (python -m models.triton.build) or index anew with the other"
            )
        self._served = found
        return found

    def _refused(self, error: grpc.RpcError) -> Unavailable:
        return Unavailable(f"triton at {self._connection.target!r} refused: {described(error)}")

    def _patience(self) -> Patience:
        return Patience(self._connection.target, self._calls.patience_s)


def _taken(batch: _Batch) -> grpc.Future:
    """Return the answer that a batch waits for, once: a batch without one must be sent."""
    answer, batch.answer = batch.answer, None
    return answer
