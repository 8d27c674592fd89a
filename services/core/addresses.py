"""Addresses that repositories are fetched from: one form to compare them in, and whether their hosts may be reached.

A server that fetches what strangers name must not be led into its own network: everything that
the name of a host stands for has to be public, unless an operator has allowed the host.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from services.core.errors import InvalidRequest, Unavailable

_PORTS = {"http": 80, "https": 443, "ssh": 22}
_HOST = r"[^/@:\\?#\[\]\s]+|\[[0-9a-f:.]+\]"
# No "?", "#" or "\" before the path: programs disagree on where the host ends then.
_URL = re.compile(rf"(?i)(https?|ssh)://(?:[^/@\\?#\[\]\s]*@)?({_HOST})(?::([0-9]{{1,5}}))?(/.*)?")
_SCP = re.compile(rf"(?i)[^/@:\\\s]+@({_HOST}):(?!:)(.+)")
_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")

# What Python 3.11 takes for public and is not: special and local translation prefixes, and Azure's metadata.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "168.63.129.16/32", "fec0::/10", "64:ff9b:1::/48", "5f00::/16", "3fff::/20")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Resolve = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address; `host` is in lower case, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_and_port(self) -> str:
        """The host as URLs write it, with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> Address:
    """Return the parts of an https, http or ssh address, also one written ``user@host:path``.

    Raises:
        InvalidRequest: it is none, or programs could disagree on what its host is.
    """
    if found := _URL.fullmatch(url):
        scheme, host, port, path = found[1].lower(), found[2], found[3], found[4] or ""
    elif found := _SCP.fullmatch(url):
        scheme, host, port, path = "ssh", found[1], None, found[2]
    else:
        raise InvalidRequest("this is no https or ssh address of a git repository")
    number = int(port) if port else _PORTS[scheme]
    if not 0 < number < 65536:
        raise InvalidRequest(f"port {number} of host {host[:100]!r} does not exist")
    return Address(scheme, _plain_host(host), number, path.strip("/"))


def canonical(url: str) -> str:
    """Return the form in which all addresses of one repository are equal, "" for what is no address.

    Scheme, user, default port, ``.git`` and case make no difference, as at the forges.
    """
    try:
        address = parse(url)
    except InvalidRequest:
        return ""
    path = address.path.removesuffix(".git").strip("/").lower()
    return f"{address.host_and_port}/{path}" if path else ""


def moved(source: str, url: str) -> str:
    """Return `source` with the path of `url`, "" if their hosts differ or that path is not a plain one."""
    old, new = parse(source), parse(url)
    path = new.path.removesuffix(".git")
    if old.host != new.host or not _PLAIN_PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        return ""
    start = source.rstrip("/").removesuffix(old.path)
    return f"{start}{path}.git" if old.path.endswith(".git") else f"{start}{path}"


def is_allowed(url: str, allow: Collection[str]) -> bool:
    """Whether the host of an address is on a list of names and addresses, some with ``:port``; in lower case."""
    try:
        address = parse(url)
    except InvalidRequest:
        return False
    host = f"[{address.host}]" if ":" in address.host else address.host
    return not {address.host, host, f"{host}:{address.port}"}.isdisjoint(allow)


def check_address(url: str, allow: Collection[str] = (), *, resolve: "_Resolve | None" = None) -> tuple[str, ...]:
    """Return what the host of an address resolves to, all of it public; nothing for a host on the allow-list.

    Connect to these and not to the name, which may have another address a moment later.

    Raises:
        InvalidRequest: the host may not be fetched from, or not by plain http.
        Unavailable: its name can't be resolved now.
    """
    address = parse(url)
    if is_allowed(url, allow):
        return ()
    if address.scheme == "http":
        raise InvalidRequest(f"host {address.host!r} is not fetched from by plain http; use https")
    found = tuple((resolve or resolve_host)(address.host))
    for each in found:
        if not is_public(each):
            raise InvalidRequest(
                f"host {address.host!r} is at {each}, which is not a public address; "
                "an operator may allow it with QUARRY_GIT_ALLOW"
            )
    return found


def resolve_host(host: str) -> tuple[str, ...]:
    """Return every address of a host.

    Raises:
        Unavailable: there is none, or no name server answers.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"host {host!r} can't be resolved: {error}; is the name right?") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise Unavailable(f"host {host!r} has no address")
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet at large, also where it stands for one of IPv4."""
    ip = ipaddress.ip_address(address)
    inner = _translated(ip) if isinstance(ip, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _NOT_PUBLIC)
    return ip.is_global and not special


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _plain_host(written: str) -> str:
    # A final dot is refused with the rest: what resolves "host." would not be bound by what was checked for "host".
    host = written.lower().removeprefix("[").removesuffix("]")
    if not host.isascii():
        raise InvalidRequest(f"host {written[:100]!r} is not written in ASCII; {_in_ascii(host)}")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if written.startswith("[") or not _NAME.fullmatch(host):
            raise InvalidRequest(f"{written[:100]!r} is not the name of a host") from None
    if _is_short_ipv4(host):
        raise InvalidRequest(f"host {written[:100]!r} is a short form of an IPv4 address; write it as four numbers")
    return host


def _in_ascii(host: str) -> str:
    try:
        return f"if it is the one you mean, write {host.encode('idna').decode()!r}"
    except UnicodeError:
        return "no host has that name"


def _is_short_ipv4(host: str) -> bool:
    """Whether the C library would read a name as an IPv4 address: 127.1, 0x7f000001, 017700000001."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True
