"""A session of measurements: one stack at a time, and what is indexed in it."""

import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.distributed.deployment import Deployment
from benchmarks.speed import corpora
from benchmarks.speed.corpora import Corpus

STDLIB = "stdlib"


class Bench:
    """The folder for corpora and data, and how often what costs seconds is measured; stops its stack in the end."""

    def __init__(self, folder: Path, runs: int) -> None:
        self.folder = folder
        self.runs = runs
        self._running = ExitStack()
        self._deployment: Deployment | None = None
        self._has_stdlib = False

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def fresh(self) -> Deployment:
        """Return a new stack; the one before is stopped.

        Raises:
            NoStack: it can't be started here.
        """
        self._running.close()
        self._has_stdlib = False
        note("starting a stack")
        self._deployment = self._running.enter_context(Deployment(self.folder / "stack"))
        return self._deployment

    def with_stdlib(self) -> Deployment:
        """Return the stack, or a new one, with the standard library indexed as `STDLIB`."""
        if self._deployment is None or not self._has_stdlib:
            deployment = self.fresh()
            self.publish_stdlib(deployment)
            note("indexing the standard library")
            deployment.index(STDLIB, deployment.forge.url(STDLIB))
            self._has_stdlib = True
            return deployment
        return self._deployment

    def stdlib(self) -> Corpus:
        """Return the standard library's Python files."""
        return corpora.stdlib(self.folder)

    def publish_stdlib(self, deployment: Deployment, repo: str = STDLIB) -> Path:
        """Commit the standard library to the forge of a stack, and return the repository's folder."""
        root = self.stdlib().path
        files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
        deployment.forge.commit(repo, files)
        return deployment.forge.path(repo)

    def has_stdlib(self) -> None:
        """Note that the running stack has indexed the standard library by other means."""
        self._has_stdlib = True


def note(text: str) -> None:
    """Say what goes on."""
    print(text, file=sys.stderr, flush=True)
