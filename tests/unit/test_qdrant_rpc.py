"""Every way in which a Qdrant server can fail to take points becomes an error of Quarry's that says what to do."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from services.core.adapters.qdrant_rpc import QdrantRpc
from services.core.errors import InvalidRequest, Unavailable
from tests.servers import free_port

pytestmark = pytest.mark.enable_socket

_STATUS = grpc.StatusCode


class _Canned(grpc.GenericRpcHandler):
    """Answers with the statuses it is told, one after the other, the last again and again; None is success."""

    def __init__(self, statuses):
        self.statuses = list(statuses)
        self.asked = []

    def service(self, details):
        def answer(message, context):
            self.asked.append((details.method, message, dict(context.invocation_metadata()).get("api-key")))
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status is not None:
                context.abort(status, "the server's words")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def canned(*statuses, **options):
    """A canned server and a connection to it."""
    handler = _Canned(statuses)
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        rpc = QdrantRpc("http://127.0.0.1:6333", port, **options)
        try:
            yield handler, rpc
        finally:
            rpc.close()
            server.stop(None).wait()


def test_a_message_is_sent_as_it_is_with_the_key():
    with canned(None, api_key="secret") as (server, rpc):
        rpc.upsert(b"\x0a\x01c")

        assert server.asked == [("/qdrant.Points/Upsert", b"\x0a\x01c", "secret")]


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (_STATUS.INVALID_ARGUMENT, InvalidRequest, "refuses points: the server's words"),
        (_STATUS.UNAUTHENTICATED, Unavailable, "set QUARRY_QDRANT_API_KEY"),
        (_STATUS.PERMISSION_DENIED, Unavailable, "set QUARRY_QDRANT_API_KEY"),
        (_STATUS.NOT_FOUND, Unavailable, "start an indexer"),
        (_STATUS.INTERNAL, Unavailable, "INTERNAL.*the server's words"),
        (_STATUS.RESOURCE_EXHAUSTED, Unavailable, "RESOURCE_EXHAUSTED"),
        (_STATUS.UNAVAILABLE, Unavailable, "QUARRY_QDRANT_GRPC_PORT"),
    ],
)
def test_a_refusal_says_what_to_do(status, error, said):
    with canned(status) as (_, rpc), pytest.raises(error, match=said):
        rpc.upsert(b"")


def test_a_server_that_was_away_for_a_moment_is_asked_again_once():
    with canned(_STATUS.UNAVAILABLE, None) as (server, rpc):
        rpc.upsert(b"")

        assert len(server.asked) == 2


def test_what_the_server_refuses_is_not_sent_again():
    with canned(_STATUS.INTERNAL) as (server, rpc):
        with pytest.raises(Unavailable):
            rpc.upsert(b"")

        assert len(server.asked) == 1


def test_nobody_listening_is_unavailable():
    rpc = QdrantRpc("http://127.0.0.1:6333", free_port())

    with pytest.raises(Unavailable, match="UNAVAILABLE"):
        rpc.upsert(b"")
    rpc.close()


def test_a_closed_connection_is_unavailable():
    with canned(None) as (server, rpc):
        rpc.upsert(b"")
        rpc.close()

        with pytest.raises(Unavailable, match="closed"):
            rpc.upsert(b"")
        assert len(server.asked) == 1
