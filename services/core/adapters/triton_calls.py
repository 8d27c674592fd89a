"""Calls to a Triton server over gRPC: a deadline on each, and what a failed one means for the next."""

import logging
import random
import re
import threading
import time
from enum import Enum, auto
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from services.core.adapters.triton_model import INPUTS, MODEL, OUTPUT
from services.core.errors import Unavailable

log = logging.getLogger(__name__)

_OPTIONS = (
    # gRPC waits up to two minutes between attempts to connect, unless told otherwise.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Notices a peer that vanished without closing; a server takes more frequent pings for an attack.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The server is inside the deployment, where no proxy leads.
    ("grpc.enable_http_proxy", 0),
)
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 5.0
_NO_MEMORY = re.compile(r"out of memory|memory ?error|failed to allocate|bad.?alloc|ALLOC_FAILED", re.IGNORECASE)
_TOO_LARGE = re.compile(r"batch.?size must be|larger than max|exceeds maximum (allowed|batch)", re.IGNORECASE)


class Meaning(Enum):
    """What to do about a failed call."""

    RETRY = auto()
    SHRINK = auto()
    GIVE_UP = auto()


# NOT_FOUND is what a server answers that is about to load the model, or has another one: looking again will tell.
_TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.NOT_FOUND,
    }
)


def meaning(error: grpc.RpcError) -> Meaning:
    """Return what a failed call asks for; Triton tells most of it in words."""
    if _NO_MEMORY.search(_details(error)) or _TOO_LARGE.search(_details(error)):
        return Meaning.SHRINK
    return Meaning.RETRY if error.code() in _TRANSIENT else Meaning.GIVE_UP


def described(error: grpc.RpcError) -> str:
    """Return status and reason of a failed call in one line."""
    return f"{error.code().name}: {' '.join(_details(error).split())[:300]}"


def _details(error: grpc.RpcError) -> str:
    return error.details() or ""


class Patience:
    """The time that one piece of work may take with all its attempts; waits longer after each."""

    def __init__(self, target: str, total_s: float) -> None:
        self._target = target
        self._total_s = total_s
        self._end = time.monotonic() + total_s
        self._failures = 0

    def deadline_s(self, longest_s: float) -> float:
        """Return the time limit for the next attempt: `longest_s`, or what is left."""
        return max(0.01, min(longest_s, self._end - time.monotonic()))

    def wait(self, error: grpc.RpcError) -> None:
        """Sleep before the next attempt, for a random time so that clients don't come back together.

        Raises:
            Unavailable: the time is up.
        """
        self._failures += 1
        delay = random.uniform(0, min(_MAX_DELAY_S, _FIRST_DELAY_S * 2**self._failures))
        if time.monotonic() + delay >= self._end:
            raise Unavailable(
                f"triton at {self._target!r} gave no vectors in {self._total_s:g} s and {self._failures} attempts, "
                f"the last error was {described(error)}; is it running and QUARRY_TRITON_URL right?"
            ) from error
        log.info(
            "triton_call_failed",
            extra={"error": described(error), "attempt": self._failures, "wait_s": round(delay, 3)},
        )
        time.sleep(delay)


class Connection:
    """A connection to one server, made at the first call; safe for threads.

    gRPC does not survive a fork: a process that forks must do so before that call.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._stub: Any = None

    def config(self, deadline_s: float) -> model_config_pb2.ModelConfig:
        """Return the configuration of the model that is served now.

        Raises:
            grpc.RpcError: no answer, or no such model.
        """
        request = service_pb2.ModelConfigRequest(name=MODEL)
        return self._opened().ModelConfig(request, timeout=deadline_s).config

    def infer(self, request: service_pb2.ModelInferRequest, deadline_s: float) -> grpc.Future:
        """Send a request and return at once; the future raises `grpc.RpcError`."""
        # The server drops it unrun when nobody waits for it any more.
        request.parameters["timeout"].int64_param = int(deadline_s * 1_000_000)
        return self._opened().ModelInfer.future(request, timeout=deadline_s)

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            self._channel = self._stub = None

    def _opened(self) -> Any:
        with self._lock:
            if self._stub is None:
                self._channel = grpc.insecure_channel(self.target, options=_OPTIONS)
                self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
            return self._stub


def infer_request(version: str, priority: int, arrays: tuple[np.ndarray, np.ndarray]) -> service_pb2.ModelInferRequest:
    """Return the request for the vectors of input_ids and attention_mask, int64[texts, tokens]."""
    tensor = service_pb2.ModelInferRequest.InferInputTensor
    request = service_pb2.ModelInferRequest(
        model_name=MODEL,
        model_version=version,
        inputs=[
            tensor(name=name, datatype="INT64", shape=array.shape) for name, array in zip(INPUTS, arrays, strict=True)
        ],
        outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=OUTPUT)],
        raw_input_contents=[array.tobytes() for array in arrays],
    )
    request.parameters["priority"].uint64_param = priority
    return request
