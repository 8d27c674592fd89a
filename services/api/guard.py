"""What every request and response passes: whose page it comes from, and headers that keep browsers honest.

There is no login in the embedded mode, so a page of another site must not be able to make
the user's browser index, remove or read anything here.
"""

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

    `allowed_hosts` are the names this server is reached by, without port; None admits any. A server on
    loopback should name its own: a hostile site can give its name the address 127.0.0.1.

    Raises:
        Forbidden: the host is not allowed, or a change is asked for from another origin.
    """
    host = request.headers.get("Host", "")
    if allowed_hosts is not None and _name(host) not in allowed_hosts:
        raise Forbidden(f"host {host[:100]!r} is not one this server is reached by")
    if request.method in _SAFE_METHODS and request.path != "/mcp":
        return
    origin = request.headers.get("Origin")
    if origin is not None and not _same(origin, host):
        raise Forbidden(f"a page of {origin[:100]!r} may not change anything on {host[:100]!r}")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Forbidden("a page of another site may not change anything here")


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


def _name(host: str) -> str:
    bare, colon, port = host.rpartition(":")
    return (bare if colon and port.isdigit() else host).lower()
