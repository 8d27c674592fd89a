"""A stand-in for a Qdrant server: the part of its REST API that Quarry uses, over the real engine in this process.

For machines that have no Qdrant server. It has no replicas, no optimizer and so no
HNSW graph, and one lock per collection; what it answers is what the engine says.
``python -m tests.qdrant_standin --port 0 --path DIR`` prints its URL and serves until it is told to stop.
"""

import argparse
import json
import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.qdrant_standin_store import Refused, Store

TITLE, VERSION = "qdrant stand-in", "1.19.0"


def _done(operation):
    return {"operation_id": 0, "status": "completed"} if operation is None else operation


def _query_batch(store, name, body):
    # The alias is looked up once, so that all searches of a batch see the same collection.
    collection = store.find(name)
    return [collection.query(search) for search in body["searches"]]


def _create(store, name, body):
    store.create(name, body)
    return True


def _change_aliases(store, _name, body):
    store.change_aliases(body["actions"])
    return True


def _aliases(store, _name, _body):
    return {"aliases": [{"alias_name": a, "collection_name": c} for a, c in store.aliases.items()]}


ROUTES = [
    ("GET", "/collections", lambda store, _name, _body: {"collections": [{"name": n} for n in store.collections]}),
    ("GET", "/aliases", _aliases),
    ("POST", "/collections/aliases", _change_aliases),
    ("GET", "/collections/NAME/exists", lambda store, name, _body: {"exists": name in store.collections}),
    ("GET", "/collections/NAME", lambda store, name, _body: store.find(name).info()),
    ("PUT", "/collections/NAME", _create),
    ("DELETE", "/collections/NAME", lambda store, name, _body: store.drop(name)),
    ("PUT", "/collections/NAME/index", lambda store, name, body: _done(store.find(name).index(body))),
    ("PUT", "/collections/NAME/points", lambda store, name, body: _done(store.find(name).upsert(body))),
    ("POST", "/collections/NAME/points", lambda store, name, body: store.find(name).retrieve(body)),
    ("POST", "/collections/NAME/points/payload", lambda store, name, body: _done(store.find(name).set_payload(body))),
    ("POST", "/collections/NAME/points/delete", lambda store, name, body: _done(store.find(name).delete(body))),
    ("POST", "/collections/NAME/points/count", lambda store, name, body: store.find(name).count(body)),
    ("POST", "/collections/NAME/points/scroll", lambda store, name, body: store.find(name).scroll(body)),
    ("POST", "/collections/NAME/facet", lambda store, name, body: store.find(name).facet(body)),
    ("POST", "/collections/NAME/points/query/batch", _query_batch),
]
PATTERNS = [(method, re.compile(path.replace("NAME", "([^/]+)")), call) for method, path, call in ROUTES]


class Handler(BaseHTTPRequestHandler):
    """One connection; the server keeps idle ones for 5 s, as Qdrant does."""

    protocol_version = "HTTP/1.1"
    timeout = 5
    wbufsize = -1
    disable_nagle_algorithm = True

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        if path == "/":
            self._send(200, {"title": TITLE, "version": VERSION})
            return
        try:
            self._send(200, {"result": self._result(path, body), "status": "ok", "time": 0.0})
        except Refused as error:
            self._send(error.status, {"status": {"error": str(error)}, "time": 0.0})
        except (KeyError, ValueError, TypeError) as error:
            self._send(400, {"status": {"error": f"Format error in JSON body: {error!r}"}, "time": 0.0})
        except Exception as error:
            self._send(500, {"status": {"error": f"Service internal error: {error!r}"}, "time": 0.0})

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *_args):
        pass

    def _result(self, path, body):
        for method, pattern, call in PATTERNS:
            found = pattern.fullmatch(path)
            if found and method == self.command:
                name = found.group(1) if pattern.groups else ""
                return call(self.server.store, name, json.loads(body) if body else None)
        raise Refused(404, f"no route {self.command} {path}")

    def _send(self, status, document):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class StandIn(ThreadingHTTPServer):
    """The server over the store in `folder`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address, folder):
        super().__init__(address, Handler)
        self.store = Store(folder)

    @property
    def url(self):
        return f"http://{self.server_address[0]}:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        # A client that goes away in the middle is no error of the server.
        pass


def main():
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6333)
    parser.add_argument("--path", type=Path, required=True)
    arguments = parser.parse_args()
    server = StandIn((arguments.host, arguments.port), arguments.path)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    server.serve_forever()
    server.store.close()


if __name__ == "__main__":
    main()
