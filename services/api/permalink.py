"""Links to the lines of a hit: at the forge a repository came from, or on Quarry's own page."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

# user@host:path, as git and ssh write it
_SCP = re.compile(r"(?:[\w.-]+@)?([\w.-]+):(?!//)([\w./~-]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a file at a revision; lines are 1-based and inclusive."""

    repo: str
    path: str
    revision: str
    start_line: int
    end_line: int


def permalink(source: str, place: Place, page_url: str = "") -> str:
    """Return the link to `place`; `page_url` goes before the path of Quarry's own page."""
    return forge_link(source, place) or page_link(place, page_url)


def page_link(place: Place, page_url: str = "") -> str:
    """Return the link to Quarry's own view of the file."""
    fields = {"path": place.path, "lines": f"{place.start_line}-{place.end_line}"}
    if place.revision:
        fields["rev"] = place.revision
    return f"{page_url}/file/{quote(place.repo)}?{urlencode(fields)}#L{place.start_line}"


def forge_link(source: str, place: Place) -> str:
    """Return the link at GitHub, GitLab, Gitea, Forgejo or Bitbucket, "" if the source is none of them."""
    remote = _remote(source)
    if remote is None or not place.revision:
        return ""
    host, project = remote
    base, path = f"https://{host}/{quote(project)}", quote(place.path)
    first, last, revision = place.start_line, place.end_line, quote(place.revision, safe="")
    if host.startswith("github."):
        return f"{base}/blob/{revision}/{path}#L{first}-L{last}"
    if "gitlab" in host:
        return f"{base}/-/blob/{revision}/{path}#L{first}-{last}"
    if host.startswith("bitbucket."):
        return f"{base}/src/{revision}/{path}#lines-{first}:{last}"
    if any(name in host for name in ("gitea", "codeberg", "forgejo")):
        return f"{base}/src/commit/{revision}/{path}#L{first}-L{last}"
    return ""


def public_source(source: str) -> str:
    """Return a source as it may be shown: a URL without user name and password."""
    if "://" not in source:
        return source
    scheme, _, rest = source.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _remote(source: str) -> tuple[str, str] | None:
    if "://" in source:
        try:
            parts = urlsplit(source)
            host, project = parts.hostname or "", parts.path
        except ValueError:
            return None
        if parts.scheme not in ("https", "http", "ssh", "git"):
            return None
    elif found := _SCP.fullmatch(source):
        host, project = found.groups()
    else:
        return None
    project = project.strip("/").removesuffix(".git")
    return (host.lower(), project) if "." in host and "/" in project else None
