"""What every request and response passes: whose page it comes from, and headers that keep browsers honest.

There is no login in the embedded mode, so a page of another site must not be able to make
the user's browser index, remove or read anything here.
"""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from flask import Request, Response

from services.core.errors import QuarryError

_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Forbidden(QuarryError):
    """The request comes from where none may come from."""

    code = "forbidden"
    http_status = 403


def check_origin(request: Request, allowed_hosts: Collection[str] | None) -> None:
    """Refuse requests that another site's page made.

    `allowed_hosts` are the names this server is reached by, without port, in lower case; None admits any.
    A hostile site can give its own name this server's address (DNS rebinding), so names must be known.
    Addresses are admitted: no site can be at one without being this server.

    Raises:
        Forbidden: the host is not allowed, or a change is asked for from another origin.
    """
    host = request.headers.get("Host", "")
    name = _name(host)
    if allowed_hosts is not None and name not in allowed_hosts and not _is_address(name):
        raise Forbidden(f"host {host[:100]!r} is not one this server is reached by; QUARRY_ALLOWED_HOSTS may name it")
    if request.method in _SAFE_METHODS and request.path != "/mcp":
        return
    origin = request.headers.get("Origin")
    if origin is not None and not _same(origin, host):
        raise Forbidden(f"a page of {origin[:100]!r} may not change anything on {host[:100]!r}")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Forbidden("a page of another site may not change anything here")


def own_names(host: str, configured: str = "") -> frozenset[str]:
    """Return the names that a server on `host` goes by: this machine's, and those configured, comma separated."""
    names = ("localhost", host, socket.gethostname(), socket.getfqdn(), *configured.split(","))
    return frozenset(name.strip().lower() for name in names) - {""}


def protect(response: Response) -> Response:
    """Add the security headers."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _same(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    bare, colon, port = host.rpartition(":")
    return (bare if colon and port.isdigit() else host).lower()
