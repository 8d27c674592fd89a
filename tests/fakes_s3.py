"""An S3 server that misbehaves on order: an object store's faults that a real one won't show."""

import contextlib
import email.utils
import re
import socket
import struct
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from services.core.adapters.s3 import S3Bucket


class FaultyS3:
    """PUT, GET with ranges, HEAD and DELETE of one bucket's objects, kept in a dictionary.

    faults: what befalls the requests to come, one each, by the name of a method of `_Request`; `always` befalls
    those that follow. asked: every request as (method, path).
    """

    def __init__(self):
        self.objects = {}
        self.faults = deque()
        self.always = None
        self.asked = []
        self.released = threading.Event()
        handler = type("Handler", (_Request,), {"store": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def bucket(self, **options):
        options = {"connect_timeout_s": 1.0, "read_timeout_s": 5.0} | options
        return S3Bucket(f"http://127.0.0.1:{self._server.server_port}/bucket", "key", "secret", **options)

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.cut_off()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._connections = set()

    def process_request(self, request, client_address):
        self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request):
        super().close_request(request)
        self._connections.discard(request)

    def cut_off(self):
        """End the kept connections: each holds a thread."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """A client that gave up is no news."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: FaultyS3

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.store.asked.append((self.command, self.path))
        fault = self.store.faults.popleft() if self.store.faults else self.store.always
        self.close_connection = fault is not None
        with contextlib.suppress(OSError):
            getattr(self, fault or "serve")(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815

    def log_message(self, *_):
        """Say nothing."""

    def serve(self, body, change=lambda data: data):
        objects, key = self.store.objects, self.path.partition("?")[0]
        if self.command == "PUT":
            objects[key] = body
            return self.send(200)
        if self.command == "DELETE":
            objects.pop(key, None)
            return self.send(204)
        if key not in objects:
            return self.send(404, _error("NoSuchKey"), "application/xml")
        return self.send_object(objects[key], change)

    def send_object(self, data, change):
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if not asked:
            return self.send(200, change(data))
        start = int(asked[1])
        if start >= len(data):
            return self.send(416, _error("InvalidRange"), "application/xml")
        return self.send(206, change(data[start : int(asked[2] or len(data)) + 1]))

    def send(self, status, body=b"", kind="application/octet-stream", sent=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", kind)
        self.send_header("Last-Modified", email.utils.formatdate(usegmt=True))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])

    def flip(self, body):
        self.serve(body, lambda data: bytes([data[0] ^ 1]) + data[1:])

    def shorten(self, body):
        self.serve(body, lambda data: data[:-1])

    def break_off(self, _):
        self.send(200 if "range" not in self.headers else 206, b"0123456789" * 10, sent=50)

    def reset(self, _):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def hang(self, _):
        self.store.released.wait(20)

    def fail(self, _):
        self.send(500, _error("InternalError"), "application/xml")

    def busy_for_an_hour(self, _):
        self.send(503, _error("SlowDown"), "application/xml", Retry_After="3600")

    def full(self, _):
        self.send(507, _error("XMinioStorageFull"), "application/xml")

    def redirect(self, _):
        self.send(302, b"", Location=f"http://127.0.0.1:{self.server.server_port}/elsewhere")

    def answer_as_a_web_page(self, _):
        self.send(404, b"<h1>\xff not found</h1>", "text/html")

    def answer_damaged_xml(self, _):
        self.send(403, b"<Error><Code>", "application/xml")

    def ignore_the_range(self, _):
        self.send(200, self.store.objects[self.path])


def _error(code):
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said the store</Message></Error>".encode()
