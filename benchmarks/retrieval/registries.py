"""Archives of packages from public registries, each kept once it has the digest that it is pinned by.

Where a registry is comes from the environment or the configuration of its package manager, else it is the public one.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urljoin

from benchmarks.retrieval.labelled import NotThere

_LIMIT_S = 120.0
_MAX_BYTES = 100 << 20
_SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"


def archive(registry: str, name: str, version: str, sha256: str, folder: Path) -> Path:
    """Return the archive of a package, downloading it if it is not in `folder`.

    Raises:
        NotThere: it can't be had, or is not what was pinned.
    """
    kept = folder / sha256
    if kept.exists():
        return kept
    try:
        data = _get(_ADDRESSES[registry](name, version, sha256))
    except (OSError, ValueError) as error:
        raise NotThere(f"package {name} {version} can't be had from {registry}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise NotThere(f"package {name} {version} from {registry} has SHA-256 {found}, {sha256} is pinned")
    folder.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    partial.write_bytes(data)
    partial.rename(kept)
    return kept


def _get(address: str, accept: str = "*/*") -> bytes:
    request = urllib.request.Request(address, headers={"Accept": accept, "User-Agent": "quarry-benchmark"})
    with urllib.request.urlopen(request, timeout=_LIMIT_S) as response:
        data: bytes = response.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{address} is larger than {_MAX_BYTES} bytes")
    return data


def _pypi(name: str, version: str, sha256: str) -> str:
    index = os.environ.get("PIP_INDEX_URL") or _said([sys.executable, "-m", "pip", "config", "get", "global.index-url"])
    page = f"{(index or _pip_default()).rstrip('/')}/{name}/"
    files = json.loads(_get(page, _SIMPLE_JSON))["files"]
    for file in files:
        if file["hashes"].get("sha256") == sha256:
            return str(urljoin(page, file["url"]))
    raise ValueError(f"its index has no file of version {version} with the pinned digest")


def _pip_default() -> str:
    from pip._internal.models.index import PyPI

    return str(PyPI.simple_url)


def _npm(name: str, version: str, _sha256: str) -> str:
    found = os.environ.get("NPM_CONFIG_REGISTRY") or _said(["npm", "config", "get", "registry"])
    return f"{_host(found, 'https://registry.npmjs.org')}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


def _crates(name: str, version: str, _sha256: str) -> str:
    return f"{_host(os.environ.get('CRATES_URL'), 'https://static.crates.io/crates')}/{name}/{name}-{version}.crate"


def _go(name: str, version: str, _sha256: str) -> str:
    proxies = os.environ.get("GOPROXY") or _said(["go", "env", "GOPROXY"])
    proxy = re.split(r"[,|]", proxies)[0]
    # Capitals are escaped: https://go.dev/ref/mod#goproxy-protocol.
    escaped = re.sub(r"[A-Z]", lambda capital: "!" + capital[0].lower(), name)
    return f"{_host(proxy if '://' in proxy else '', 'https://proxy.golang.org')}/{quote(escaped)}/@v/{version}.zip"


def _maven(name: str, version: str, _sha256: str) -> str:
    group, _, artifact = name.partition(":")
    host = _host(os.environ.get("MAVEN_URL") or _maven_mirror(), "https://repo1.maven.org/maven2")
    return f"{host}/{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}-sources.jar"


def _maven_mirror() -> str:
    settings = Path.home() / ".m2" / "settings.xml"
    found = re.search(r"<mirror>.*?<url>\s*(.*?)\s*</url>", settings.read_text() if settings.is_file() else "", re.S)
    return found[1] if found else ""


_ADDRESSES: dict[str, Callable[[str, str, str], str]] = {
    "pypi": _pypi,
    "npm": _npm,
    "crates": _crates,
    "go": _go,
    "maven": _maven,
}


def _said(command: list[str]) -> str:
    """Return what a package manager prints, "" if it is not there or knows nothing."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _host(configured: str | None, public: str) -> str:
    return (configured or public).rstrip("/")
