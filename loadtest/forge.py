"""A git forge on loopback: bare repositories in a folder, written commit by commit, served over smart HTTP.

It stands where GitHub or GitLab would: load tests and integration tests index from it and push to it. `Repositories`
writes, from any process; `Forge` writes and serves. git's own CGI program does the serving.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

# Equal commits then have equal ids on every machine.
_SIGNATURE = "Forge <forge@example.com> 1700000000 +0000"
# What fetches send is a list of commits; git sends more than a megabyte of it in chunks, which nobody here needs.
_MAX_BODY_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 16


class ForgeError(Exception):
    """git refused what was asked of a repository."""


class Repositories:
    """Bare repositories below a folder; one writer at a time per repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return where a repository lies, or would."""
        return self.folder / f"{name}.git"

    def commit(
        self, name: str, files: Mapping[str, bytes | str | None], *, branch: str = "main", fresh: bool = False
    ) -> str:
        """Commit `files` on top of a branch, None deleting, and return the commit's id.

        The repository and the branch are made when they are not there. `fresh` begins the branch
        anew with nothing but `files`, as a force-push of an unrelated history does.
        """
        if not self.path(name).exists():
            self._create(name, branch)
        ref = f"refs/heads/{branch}"
        on_top = not fresh and bool(self.git(name, "for-each-ref", ref))
        stream = b"".join(_commands(ref, files, on_top))
        return self.git(name, "fast-import", "--quiet", "--force", "--done", stdin=stream)

    def git(self, name: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run git in a repository and return what it prints.

        Raises:
            ForgeError: git failed; the message is its own.
        """
        argv = ["git", f"--git-dir={self.path(name)}", *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, env=_environment(), check=False)
        if done.returncode:
            raise ForgeError(f"git {' '.join(arguments)} in {name!r}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode().strip()

    def _create(self, name: str, branch: str) -> None:
        self.path(name).mkdir(parents=True)
        self.git(name, "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}", str(self.path(name)))


class Forge(Repositories):
    """Repositories that can be cloned and fetched from `url`; serves until closed."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._server = _Server((host, 0), folder)
        self.host = f"{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="forge", daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        """Return the address to clone a repository from."""
        return f"http://{self.host}/{name}.git"

    def close(self) -> None:
        """Stop serving; the repositories stay."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "Forge":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _commands(ref: str, files: Mapping[str, bytes | str | None], on_top: bool) -> list[bytes]:
    parts = [f"commit {ref}\nmark :1\ncommitter {_SIGNATURE}\ndata 6\nchange\n".encode()]
    if on_top:
        parts.append(f"from {ref}^0\n".encode())
    for path, content in files.items():
        if content is None:
            parts.append(f"D {_quoted(path)}\n".encode())
            continue
        data = content.encode() if isinstance(content, str) else content
        parts.append(f"M 100644 inline {_quoted(path)}\ndata {len(data)}\n".encode() + data + b"\n")
    parts.append(b"get-mark :1\ndone\n")
    return parts


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which nobody's configuration changes what git does."""
    clean = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    return clean | dict(extra or {})


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for the requests under way

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        super().__init__(address, _Request)
        self.folder = folder.resolve()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is one of the things that tests do."""


class _Request(BaseHTTPRequestHandler):
    """One request, passed to `git http-backend` as CGI (RFC 3875)."""

    server: _Server
    # A client that connects and says nothing would otherwise hold its thread for good.
    timeout = 30

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "-1"))
        if not 0 <= length <= _MAX_BODY_BYTES:
            self.send_error(411 if length < 0 else 413)
            return
        self._answer(self.rfile.read(length))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _answer(self, body: bytes) -> None:
        pipe = subprocess.PIPE
        command = ["git", "http-backend"]
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=self._variables(len(body))
        ) as backend:
            assert backend.stdin
            assert backend.stdout
            try:
                # git reads all of it before it writes, so this can't wait for a reader.
                backend.stdin.write(body)
                backend.stdin.close()
                headers = parse_headers(backend.stdout)
                if not headers:
                    self.send_error(500)
                    return
                status = headers.get("Status", "200 OK")
                del headers["Status"]
                self.send_response(int(status.split()[0]))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                shutil.copyfileobj(backend.stdout, self.wfile, _BLOCK_BYTES)
            finally:
                backend.kill()

    def _variables(self, length: int) -> dict[str, str]:
        target = urlsplit(self.path)
        return _environment(
            {
                "GIT_PROJECT_ROOT": str(self.server.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REQUEST_METHOD": self.command,
                "PATH_INFO": unquote(target.path),
                "QUERY_STRING": target.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(length),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_ADDR": str(self.client_address[0]),
            }
        )
