"""The part of the index that a request may see: its filters as the vector store and a scan take them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.api.globs import PathGlob, compile_glob
from services.api.live import Live, LiveFile, LiveRepo, PackFiles, View
from services.api.request import SearchRequest
from services.core.payload import StoredChunk
from services.core.ports import Filter

# A glob that more files fit is bounded by folder and extension in the store, and checked afterwards.
_MAX_PATHS = 2_000


@dataclass(frozen=True, slots=True)
class Scope:
    """repos: those in scope that have something to find. selective: the filter admits more than fits."""

    repos: dict[str, LiveRepo]
    indexing: tuple[str, ...]
    outdated: tuple[str, ...]
    where: Filter
    glob: PathGlob | None
    languages: frozenset[str]
    selective: bool

    def admits(self, chunk: StoredChunk) -> bool:
        """Tell whether a candidate is in scope; its repository may have been removed since."""
        return chunk.repo in self.repos and (self.glob is None or self.glob.matches(chunk.path))

    def packs(self, live: Live) -> Iterator[tuple[str, PackFiles]]:
        """Yield the repositories in scope with their files, a pack of them at a time; not all may be in scope."""
        for name in sorted(self.repos):
            for pack in live.files(self.repos[name]).by_pack:
                yield name, pack

    def admits_file(self, file: LiveFile) -> bool:
        """Tell whether a file of a repository in scope is in scope itself."""
        fits = not self.languages or file.language in self.languages
        return fits and (self.glob is None or self.glob.matches(file.path))


def scope_of(request: SearchRequest, view: View, live: Live) -> Scope:
    """Return what `request` may see of `view`.

    Raises:
        InvalidRequest: the path is not a valid glob.
    """
    glob = compile_glob(request.path) if request.path else None
    repos = {name: repo for name, repo in view.repos.items() if repo.visible}
    paths = None
    if glob is not None and not glob.exact:
        paths = _resolve(glob, repos.values(), live)
    bounded = glob is not None and paths is None
    where = Filter(
        repos=request.repos,
        languages=request.languages,
        paths=paths,
        path_prefixes=glob.prefixes if glob is not None and bounded else (),
        extensions=glob.extensions if glob is not None and bounded else (),
        staged=view.fences.staged,
        retired=view.fences.retired,
    )
    indexing = tuple(sorted(name for name, repo in view.repos.items() if repo.indexing))
    outdated = tuple(sorted(name for name, repo in view.repos.items() if repo.outdated))
    selective = glob is not None and bounded and not glob.exact
    return Scope(repos, indexing, outdated, where, glob, frozenset(request.languages), selective)


def _resolve(glob: PathGlob, repos: Iterable[LiveRepo], live: Live) -> tuple[tuple[str, str], ...] | None:
    """Return the (repo, path) of every file that fits, None if they are too many to list."""
    paths: list[tuple[str, str]] = []
    for repo in repos:
        paths += ((repo.repo.name, file.path) for file in live.files(repo).files if glob.matches(file.path))
        if len(paths) > _MAX_PATHS:
            return None
    return tuple(paths)
