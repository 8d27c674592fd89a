"""How much of a second index comes from the embedding cache: the same repository again, and a fork with changes."""

import random
from typing import Any

from benchmarks.distributed.bench import STDLIB, Bench, note
from benchmarks.distributed.deployment import Deployment
from benchmarks.speed.records import Record
from loadtest.moving import new_word, word_file

_FORK = "stdlib-fork"
_AGAIN = "stdlib-again"
_CHANGED = 10
_SEED = 7


def fork(bench: Bench) -> Record:
    """Index the standard library under a second name, and a fork of it with ten changed files."""
    deployment = bench.with_stdlib()
    note("fork: indexing it again, and a fork")
    again = _index(deployment, _AGAIN, STDLIB)
    _make_fork(bench, deployment)
    forked = _index(deployment, _FORK, _FORK)
    figures = {
        "again_cached_percent": again["cached_percent"],
        "fork_cached_percent": forked["cached_percent"],
        "least_cached_percent": min(again["cached_percent"], forked["cached_percent"]),
        "chunks": again["chunks"],
    }
    return Record("fork", figures, [again, forked], bench.stdlib().describe())


def _make_fork(bench: Bench, deployment: Deployment) -> None:
    folder = bench.publish_stdlib(deployment, _FORK)
    rng = random.Random(_SEED)
    paths = deployment.forge.git(_FORK, "ls-tree", "-r", "--name-only", "main").splitlines()
    changed = rng.sample(sorted(path for path in paths if path.endswith(".py")), _CHANGED)
    root = bench.stdlib().path
    added = {path: (root / path).read_bytes() + word_file(new_word(rng)).encode() for path in changed}
    deployment.forge.commit(folder.stem, added)


def _index(deployment: Deployment, name: str, repo: str) -> dict[str, Any]:
    counts = deployment.index(name, deployment.forge.url(repo))["counts"]
    share = counts["cached"] / (counts["cached"] + counts["embedded"])
    kept = {key: counts[key] for key in ("files", "chunks", "embedded", "cached")}
    return {"repo": name, **kept, "cached_percent": round(100 * share, 3)}
