"""Real git repositories for tests, the same on every machine."""

import os
import subprocess

from services.chunker.git import GitSource
from services.chunker.git_command import environment
from services.core.model import Skipped

IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z",
    "GIT_ALLOW_PROTOCOL": "file",
}


def call(repo, *arguments, text=None):
    """Run git in `repo` and return what it prints."""
    argv = ["git", "-C", str(repo), *arguments]
    done = subprocess.run(argv, check=True, capture_output=True, input=text, env=environment(IDENTITY))
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def commit(repo, files=None, *init):
    """Make the work tree hold `files` as well, and commit."""
    if not (repo / ".git").exists():
        repo.mkdir(exist_ok=True)
        call(repo, "init", "-q", "-b", "main", *init)
    for path, content in (files or {}).items():
        target = os.path.join(os.fsencode(repo), os.fsencode(path))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)
    call(repo, "add", "-A", "-f")
    call(repo, "commit", "-q", "--allow-empty", "-m", "x")
    return call(repo, "rev-parse", "HEAD")


def tree_commit(repo, *entries):
    """Commit a tree of entries that no checkout would make, as ls-tree prints them."""
    listing = b"".join(entry + b"\0" for entry in entries)
    tree = call(repo, "mktree", "-z", "--missing", text=listing)
    return call(repo, "commit-tree", "-m", "x", tree)


def blob(repo, content):
    """Store an object and return its id as bytes."""
    return call(repo, "hash-object", "-w", "--stdin", text=content).encode()


def contents(repo, revision, **limits):
    """Return path to content (or why it was not read), and path to the reason it was left out."""
    with GitSource(repo, revision, **limits) as source:
        refs, skipped = source.files()
        found = zip(refs, source.read(refs), strict=True)
        left_out = {entry.path: entry.reason for entry in skipped}
        return {ref.path: got.reason if isinstance(got, Skipped) else got for ref, got in found}, left_out
