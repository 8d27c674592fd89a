"""What is live at one moment: revisions, fences, and the files of each repository."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.core.catalog import Catalog, Repo
from services.core.errors import NotFound
from services.core.ledger import OPEN_STATES, STARTED_STATES, Fences, Job, Ledger
from services.core.manifest import Manifest, ManifestFile
from services.core.ports import BlobStore

# A file of a manifest takes about 300 bytes here: 100 MB at most.
_MAX_CACHED_FILES = 300_000
# A commit between two looks is rare, ten in a row don't happen.
_MAX_LOOKS = 10


@dataclass(frozen=True, slots=True)
class LiveFile:
    """An indexed file: chunks ``first`` to ``first + count - 1`` of `pack`, whose words are in `vectors`."""

    path: str
    language: str
    kind: str
    size: int
    pack: str
    first: int
    count: int
    vectors: str = ""


@dataclass(frozen=True)
class PackFiles:
    """Files of one revision that lie in one pack, by path."""

    files: tuple[LiveFile, ...]

    @cached_property
    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of each file's first chunk, and of the one after its last; int64[n]."""
        first = np.array([file.first for file in self.files], dtype=np.int64)
        return first, first + np.array([file.count for file in self.files], dtype=np.int64)


@dataclass(frozen=True)
class LiveFiles:
    """The files of one revision, by path."""

    files: tuple[LiveFile, ...]

    @cached_property
    def by_pack(self) -> tuple[PackFiles, ...]:
        """The files of each pack, and of the vectors made of it, in the order of their first file."""
        packs: dict[tuple[str, str], list[LiveFile]] = {}
        for file in self.files:
            packs.setdefault((file.pack, file.vectors), []).append(file)
        return tuple(PackFiles(tuple(files)) for files in packs.values())

    @cached_property
    def by_path(self) -> dict[str, LiveFile]:
        """The files under their paths."""
        return {file.path: file for file in self.files}


@dataclass(frozen=True, slots=True)
class LiveRepo:
    """A repository as a search sees it.

    revision: the live one, or the one whose first index is under way. indexing: its first index has
    not ended; an index for another schema does not count. first_job: that job once it writes points,
    else None. outdated: it was indexed for another schema, and no job is changing that.
    """

    repo: Repo
    revision: str
    indexing: bool = False
    first_job: int | None = None
    outdated: bool = False

    @property
    def visible(self) -> bool:
        """Whether there is anything of it to find."""
        live = bool(self.repo.revision) and not self.indexing and not self.outdated
        return live or self.first_job is not None


@dataclass(frozen=True, slots=True)
class View:
    """Catalog and fences that belong together."""

    repos: dict[str, LiveRepo]
    fences: Fences


class Live:
    """Reads the catalog and ledger consistently, and manifests through a cache.

    `schema` is that of the vector store, "" if every repository is known to have it.
    """

    def __init__(self, catalog: Catalog, ledger: Ledger, blobs: BlobStore, schema: str = "") -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._blobs = blobs
        self._schema = schema
        self._lock = threading.Lock()
        self._cached: OrderedDict[object, LiveFiles] = OrderedDict()

    def view(self, names: tuple[str, ...] = ()) -> View:
        """Return the repositories called `names`, or all, with the fences of the same moment.

        Raises:
            NotFound: one of `names` is not there.
        """
        fences = self._ledger.fences()
        for _ in range(_MAX_LOOKS):
            repos = self._repos(names)
            # Every commit changes the fences, and none is undone while the caller holds the read
            # barrier; so equal fences before and after mean no commit in between.
            after = self._ledger.fences()
            if after == fences:
                break
            fences = after
        return View(repos, fences)

    def files(self, live: LiveRepo) -> LiveFiles:
        """Return the files of a repository; during its first index, those that are indexed so far.

        Raises:
            CorruptData: the manifest can't be read.
        """
        if live.first_job is None:
            return self._load(live.repo.manifest) if live.repo.revision else LiveFiles(())
        progress = self._ledger.progress(live.first_job)
        key = (live.first_job, progress.files_indexed)
        if (found := self._recall(key)) is None:
            found = _live_files(self._ledger.results(live.first_job)[0])
            self._remember(key, found)
        return found

    def manifest(self, repo: Repo) -> Manifest | None:
        """Return the live manifest, None before the first commit."""
        return Manifest.load(self._blobs, repo.manifest) if repo.manifest else None

    def _repos(self, names: tuple[str, ...]) -> dict[str, LiveRepo]:
        repos = [self._catalog.get(name) for name in names] if names else self._catalog.list()
        unborn = any(not _is_live(repo, self._schema) for repo in repos)
        open_jobs = self._ledger.jobs(states=OPEN_STATES) if unborn else []
        # Of several the oldest runs first.
        jobs = {job.repo: job for job in reversed(open_jobs)}
        return {repo.name: _live_repo(repo, jobs.get(repo.name), self._schema) for repo in repos}

    def _load(self, digest: str) -> LiveFiles:
        if (found := self._recall(digest)) is None:
            found = _live_files(Manifest.load(self._blobs, digest).files)
            self._remember(digest, found)
        return found

    def _recall(self, key: object) -> LiveFiles | None:
        with self._lock:
            if key in self._cached:
                self._cached.move_to_end(key)
            return self._cached.get(key)

    def _remember(self, key: object, files: LiveFiles) -> None:
        with self._lock:
            self._cached[key] = files
            total = sum(len(cached.files) for cached in self._cached.values())
            while total > _MAX_CACHED_FILES and len(self._cached) > 1:
                total -= len(self._cached.popitem(last=False)[1].files)


def find_file(files: LiveFiles, repo: str, path: str) -> LiveFile:
    """Return a file by its path.

    Raises:
        NotFound: it is not indexed.
    """
    file = files.by_path.get(path)
    if file is None:
        raise NotFound(f"{repo!r} has no indexed file {path[:200]!r}; its page lists what was skipped and why")
    return file


def _live_repo(repo: Repo, job: Job | None, schema: str) -> LiveRepo:
    if _is_live(repo, schema):
        return LiveRepo(repo, repo.revision)
    if job is None:
        return LiveRepo(repo, repo.revision, outdated=bool(repo.revision))
    if job.state in STARTED_STATES and job.first and schema in ("", job.schema):
        return LiveRepo(repo, job.revision, indexing=True, first_job=job.id)
    return LiveRepo(repo, repo.revision, indexing=True)


def _is_live(repo: Repo, schema: str) -> bool:
    return bool(repo.revision) and schema in ("", repo.schema)


def _live_files(files: "tuple[ManifestFile, ...] | list[ManifestFile]") -> LiveFiles:
    digests: dict[str, str] = {}
    same = digests.setdefault
    live = (
        LiveFile(f.path, f.language, f.kind, f.size, same(f.pack, f.pack), f.first, f.count, same(f.vectors, f.vectors))
        for f in files
    )
    return LiveFiles(tuple(sorted(live, key=lambda file: file.path)))
