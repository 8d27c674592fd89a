"""A revision of a git repository as a source, read from the object database: nothing is ever checked out.

That leaves no room for links that lead outside, filters, case clashes or path
traversal: a path is only ever a label.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from services.chunker import ignore, names
from services.chunker.classify import skip_by_name
from services.chunker.git_command import command, environment, reason_of, run
from services.chunker.objects import ObjectReader
from services.core.errors import CorruptData, InvalidRequest, NotFound
from services.core.model import FileRef, Skipped, SkipReason

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SYMLINK, _SUBMODULE = b"120000", b"160000"


def is_repository(path: Path) -> bool:
    """Whether `path` is the top of a work tree or a bare repository; a folder inside a work tree is neither."""
    dot_git = path / ".git"
    if dot_git.is_file():
        return True
    return _is_git_dir(dot_git) or _is_git_dir(path)


def _is_git_dir(path: Path) -> bool:
    head = path / "HEAD"
    # HEAD of an old repository may be a symbolic link to a branch that does not exist yet.
    return (head.is_file() or head.is_symlink()) and (path / "objects").is_dir()


def git_dir(repo_dir: Path) -> Path:
    """Return what git is to be pointed at: the ``.git`` of a work tree, or a bare repository itself."""
    dot_git = repo_dir / ".git"
    return dot_git if dot_git.exists() else repo_dir


def resolve(repo_dir: Path, ref: str = "") -> str:
    """Return the full commit id that `ref` names now, by default HEAD.

    Raises:
        InvalidRequest: not a repository, or it has no commits yet, or `ref` is not a ref.
        NotFound: there is no such ref.
        CorruptData: the commit is named but can't be read.
    """
    if ref.startswith("-") or _CONTROL.search(ref):
        raise InvalidRequest(f"{ref!r} is not a branch, tag or commit")
    directory = git_dir(repo_dir)
    found = run(command(directory, "rev-parse", "--verify", "--quiet", f"{ref or 'HEAD'}^{{commit}}"))
    if found.returncode == 0:
        return found.stdout.decode().strip()
    raise _unresolved(repo_dir, directory, ref)


def _unresolved(repo_dir: Path, directory: Path, ref: str) -> Exception:
    check = run(command(directory, "rev-parse", "--git-dir"))
    if check.returncode:
        return InvalidRequest(f"{str(repo_dir)!r} is not a git repository: {reason_of(check.stderr)}")
    named = run(command(directory, "rev-parse", "--verify", "--quiet", ref or "HEAD"))
    if named.returncode == 0:
        return _unreadable(repo_dir, directory, ref or "HEAD", named.stdout.decode().strip())
    listed = run(command(directory, "for-each-ref", "--count=1", "--format=%(refname:short)"))
    some_ref = listed.stdout.decode("utf-8", "replace").strip()
    if not some_ref:
        return InvalidRequest(f"repository {str(repo_dir)!r} has no commits yet; commit something, then index it")
    if ref:
        return NotFound(f"repository {str(repo_dir)!r} has no branch, tag or commit {ref!r}")
    return InvalidRequest(
        f"HEAD of repository {str(repo_dir)!r} names a branch without commits; "
        f"say which one to index, as in --ref {some_ref}"
    )


def _unreadable(repo_dir: Path, directory: Path, ref: str, oid: str) -> Exception:
    kind = run(command(directory, "cat-file", "-t", oid))
    if kind.returncode == 0 and kind.stdout.strip() != b"commit":
        return InvalidRequest(
            f"{ref!r} of repository {str(repo_dir)!r} is a {kind.stdout.decode().strip()}, not a commit"
        )
    return CorruptData(
        f"{ref!r} of repository {str(repo_dir)!r} is {oid}, which can't be read: {reason_of(kind.stderr)}; "
        "run 'git fsck' there"
    )


class GitSource:
    """The files of one commit; a context manager, because reading keeps a git process."""

    def __init__(self, repo_dir: Path, revision: str, *, max_file_bytes: int = 1 << 20) -> None:
        self._repo_dir = repo_dir
        self._git_dir = git_dir(repo_dir)
        self._revision = revision
        self._max_file_bytes = max_file_bytes
        self._objects = ObjectReader(command(self._git_dir, "cat-file", "--batch"), environment())

    def revision(self) -> str:
        """Name the commit."""
        return self._revision

    def files(self) -> tuple[list[FileRef], list[Skipped]]:
        """List the files to index and those left out, both by path.

        Raises:
            CorruptData: a tree of the commit can't be read.
            Unavailable: git does not answer.
        """
        listed = run(command(self._git_dir, "ls-tree", "-r", "-l", "-z", "--full-tree", self._revision))
        if listed.returncode:
            raise CorruptData(
                f"commit {self._revision} of {str(self._repo_dir)!r} can't be listed: {reason_of(listed.stderr)}; "
                "run 'git fsck' there (a partial or shallow clone may lack it: fetch it whole)"
            )
        entries = list(_entries(listed.stdout))
        rules = ignore.TreeRules(self._ignore_texts(entries))
        refs, skipped, seen = [], [], set()
        for mode, oid, size, path in entries:
            left_out = Skipped(path, SkipReason.UNREADABLE, "named twice in its folder") if path in seen else None
            left_out = left_out or self._left_out(mode, size, path)
            if left_out is None and rules.ignores(path):
                left_out = Skipped(path, SkipReason.IGNORED)
            if left_out is None:
                refs.append(FileRef(path, oid, f"git:{oid}", int(size)))
            else:
                skipped.append(left_out)
            seen.add(path)
        return sorted(refs, key=lambda ref: ref.path), sorted(skipped, key=lambda entry: entry.path)

    def read(self, refs: Sequence[FileRef]) -> Iterator[bytes | Skipped]:
        """Yield each file's bytes in order, or why it can't be read.

        Raises:
            Unavailable: git does not answer.
        """
        contents = self._objects.read([ref.locator for ref in refs], self._max_file_bytes)
        for ref, content in zip(refs, contents, strict=True):
            yield content if isinstance(content, bytes) else Skipped(ref.path, content.reason, content.detail)

    def close(self) -> None:
        """End the git process."""
        self._objects.close()

    def __enter__(self) -> "GitSource":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _left_out(self, mode: bytes, size: bytes, path: str) -> Skipped | None:
        if mode == _SYMLINK:
            return Skipped(path, SkipReason.SYMLINK)
        if mode == _SUBMODULE:
            return Skipped(path, SkipReason.SUBMODULE)
        if reason := skip_by_name(path):
            return Skipped(path, reason)
        if not size.isdigit():
            return Skipped(path, SkipReason.UNREADABLE, "its object is missing or damaged; run 'git fsck'")
        if size == b"0":
            return Skipped(path, SkipReason.EMPTY)
        if int(size) > self._max_file_bytes:
            return Skipped(path, SkipReason.TOO_LARGE, f"{int(size)} bytes")
        return None

    def _ignore_texts(self, entries: "list[_Entry]") -> dict[str, str]:
        """Map folders to what their ignore file says."""
        found = [
            (path[: path.rfind("/") + 1], oid)
            for mode, oid, _, path in entries
            if path.endswith(ignore.TREE_FILE) and path[path.rfind("/") + 1 :] == ignore.TREE_FILE and mode != _SYMLINK
        ]
        contents = self._objects.read([oid for _, oid in found], self._max_file_bytes)
        texts = {
            folder: content.decode("utf-8", "replace")
            for (folder, _), content in zip(found, contents, strict=True)
            if isinstance(content, bytes)
        }
        # Whoever lists seldom reads.
        self._objects.close()
        return texts


_Entry = tuple[bytes, str, bytes, str]


def _entries(listing: bytes) -> Iterator[_Entry]:
    """Parse ``ls-tree -l -z`` into mode, object id, size and path."""
    for line in listing.split(b"\0")[:-1]:
        meta, _, path = line.partition(b"\t")
        mode, _, oid, size = meta.split()
        yield mode, oid.decode(), size, names.display(names.locator(path))
