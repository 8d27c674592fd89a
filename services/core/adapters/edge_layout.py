"""What lies in a directory of shards: the list that says which of them count, and each one's files.

``shards.json`` is replaced atomically; a shard directory that it does not name
is the leftover of a killed process and is removed. The engine checks neither
the presence nor the length of most of its files (a short one crashes the
process when its mapping is read), so that an inventory does.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from services.core.errors import CorruptData, InvalidRequest, Unavailable

FORMAT = 1
ENGINE_FOLDER = "engine"
_LIST = "shards.json"
_LOCK = "lock"
_INVENTORY = "files.json"
# Files the engine removes when it has folded them into others.
_PASSING = "journal"


@dataclass(frozen=True, slots=True)
class Listed:
    """A shard in the list; `sealed_points` is how many it held when it was sealed, 0 if it is mutable."""

    name: str
    sealed_points: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The content of ``shards.json``; the last shard is the one that takes new points."""

    dim: int
    shards: tuple[Listed, ...] = ()


def lock_directory(directory: Path) -> int:
    """Take the directory's lock and return the descriptor that holds it until it is closed.

    Without a write-ahead log the engine takes no lock of its own.

    Raises:
        Unavailable: another process has it.
    """
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Unavailable(f"vector store {str(directory)!r} is in use by another process; go through it") from error
    return descriptor


def read_listing(directory: Path, dim: int) -> Listing:
    """Read the list, or start an empty one in a directory that holds no shard.

    Raises:
        CorruptData: the list is missing or damaged.
        InvalidRequest: the store has another dimension or format.
    """
    path = directory / _LIST
    if not path.exists():
        if any(directory.glob("s0*")):
            raise _damaged(directory, f"{_LIST} is missing")
        write_listing(directory, Listing(dim))
    try:
        document = json.loads(path.read_bytes())
        shards = tuple(Listed(str(row["name"]), int(row["sealed_points"])) for row in document["shards"])
        version, stored = document["format"], Listing(int(document["dim"]), shards)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(directory, f"{_LIST} can't be read ({error!r})") from error
    if version != FORMAT or stored.dim != dim:
        raise InvalidRequest(
            f"vector store {str(directory)!r} has format {version} and dimension {stored.dim}, "
            f"not {FORMAT} and {dim}; use another QUARRY_HOME or run 'quarry rebuild'"
        )
    return stored


def write_listing(directory: Path, listing: Listing) -> None:
    """Replace the list, on disk when this returns."""
    document = {"format": FORMAT, "dim": listing.dim, "shards": [asdict(shard) for shard in listing.shards]}
    temporary = directory / (_LIST + ".new")
    with open(temporary, "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, directory / _LIST)
    _sync(directory)


def new_name(listing: Listing) -> str:
    """Return a name no shard ever had, in order of creation."""
    last = max((int(shard.name[1:7]) for shard in listing.shards), default=0)
    return f"s{last + 1:06d}-{uuid.uuid4().hex[:8]}"


def remove_unlisted(directory: Path, listing: Listing) -> None:
    """Remove the directories of shards that were given up or never finished."""
    listed = {shard.name for shard in listing.shards}
    for path in directory.glob("s[0-9]*"):
        if path.is_dir() and path.name not in listed:
            shutil.rmtree(path, ignore_errors=True)


def write_inventory(shard: Path) -> None:
    """Record the files of a shard with their sizes; they only ever grow."""
    sizes = {path.relative_to(shard).as_posix(): size for path, size in _files(shard / ENGINE_FOLDER)}
    temporary = shard / (_INVENTORY + ".new")
    temporary.write_text(json.dumps(sizes))
    os.replace(temporary, shard / _INVENTORY)


def check_inventory(shard: Path) -> None:
    """Compare a shard's files with what was recorded.

    Raises:
        CorruptData: one is missing or too short.
    """
    try:
        sizes: dict[str, int] = json.loads((shard / _INVENTORY).read_bytes())
        for name, size in sizes.items():
            if (shard / name).stat().st_size < size:
                raise _damaged(shard, f"{name} is shorter than {size} bytes")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _damaged(shard, f"{error.filename} is missing") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise _damaged(shard, f"{_INVENTORY} can't be read ({error!r})") from error


def copy_shard(source: Path, target: Path) -> None:
    """Copy a shard's engine folder without its holes: most of a mutable shard's length is holes."""
    for path, size in _files(source / ENGINE_FOLDER, passing=True):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(path, copy, size)


def sync_tree(root: Path) -> None:
    """Return once every file and folder below `root` is on disk."""
    for folder, _folders, files in os.walk(root):
        for name in (*files, "."):
            _sync(Path(folder) / name)


def _files(root: Path, *, passing: bool = False) -> Iterator[tuple[Path, int]]:
    for folder, _folders, names in os.walk(root):
        for name in names:
            if passing or _PASSING not in name:
                path = Path(folder) / name
                yield path, path.stat().st_size


def _copy_file(source: Path, target: Path, size: int) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        os.truncate(writer.fileno(), size)
        stop = 0
        while stop < size:
            try:
                start = os.lseek(reader.fileno(), stop, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            stop = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            _copy_range(reader.fileno(), writer.fileno(), start, stop)


def _copy_range(reader: int, writer: int, start: int, stop: int) -> None:
    os.lseek(writer, start, os.SEEK_SET)
    while start < stop:
        sent = os.sendfile(writer, reader, start, stop - start)
        if not sent:
            return
        start += sent


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some file systems refuse to sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, what: str) -> CorruptData:
    return CorruptData(f"vector store {str(path)!r} is damaged: {what}; run 'quarry rebuild'")
