"""A Qdrant server's gRPC: only what writes points, where it takes less of both sides' time than REST."""

import threading
from typing import Any
from urllib.parse import urlsplit

import grpc

from services.core.errors import InvalidRequest, QuarryError, Unavailable

_UPSERT = "/qdrant.Points/Upsert"
_CONNECT_MS = 500
# A server that restarts has cut the connection; a call that only the connection failed may be sent again.
_RETRIES = 1
_REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.OUT_OF_RANGE)
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class QdrantRpc:
    """The gRPC of the server at `url`, on `port`; threads may share it. It connects when it is first used.

    A process that has used it may not fork.
    """

    def __init__(self, url: str, port: int, api_key: str = "", *, write_timeout_s: float = 60.0) -> None:
        parts = urlsplit(url)
        self._address = f"{parts.hostname}:{port}"
        self._secure = parts.scheme == "https"
        self._metadata = (("api-key", api_key),) if api_key else ()
        self._timeout_s = write_timeout_s
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._closed = False

    def upsert(self, message: bytes) -> None:
        """Send an `UpsertPoints` message and return once it is done.

        Raises:
            InvalidRequest: the server refuses it.
            Unavailable: it does not answer, or fails.
        """
        for attempt in range(_RETRIES + 1):
            try:
                self._call()(message, timeout=self._timeout_s, metadata=self._metadata)
                return
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == _RETRIES:
                    raise self._translation(error) from error
            except ValueError as error:
                # The channel's own word for one that was closed meanwhile.
                raise Unavailable(f"connection to Qdrant at {self._address!r} is closed") from error

    def close(self) -> None:
        """Close the connection; calls raise `Unavailable` from now on."""
        with self._lock:
            self._closed = True
            if self._channel is not None:
                self._channel.close()

    def _call(self) -> Any:
        with self._lock:
            if self._closed:
                raise Unavailable(f"connection to Qdrant at {self._address!r} is closed")
            if self._channel is None:
                self._channel = self._connected()
            return self._channel.unary_unary(_UPSERT)

    def _connected(self) -> grpc.Channel:
        options = [("grpc.max_reconnect_backoff_ms", _CONNECT_MS), ("grpc.enable_http_proxy", 0)]
        if self._secure:
            return grpc.secure_channel(self._address, grpc.ssl_channel_credentials(), options)
        return grpc.insecure_channel(self._address, options)

    def _translation(self, error: Any) -> QuarryError:
        code, said = error.code(), " ".join(str(error.details()).split())[:300]
        if code in _REFUSED:
            return InvalidRequest(f"Qdrant at {self._address!r} refuses points: {said}")
        if code in _DENIED:
            return Unavailable(f"Qdrant at {self._address!r} refuses the API key ({said}); set QUARRY_QDRANT_API_KEY")
        if code is grpc.StatusCode.NOT_FOUND:
            return Unavailable(
                f"Qdrant at {self._address!r} lacks the collection ({said}); start an indexer or run 'quarry rebuild'"
            )
        return Unavailable(
            f"Qdrant at {self._address!r} took no points ({code.name}): {said}; is QUARRY_QDRANT_GRPC_PORT right?"
        )
