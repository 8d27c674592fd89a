"""How long a push takes until a search finds its lines: announced by a signed webhook, looked for over HTTP."""

import random
import time
from typing import Any
from urllib.parse import urlencode

from benchmarks.distributed.bench import Bench, note
from benchmarks.distributed.deployment import Deployment
from benchmarks.speed.measure import MeasurementError
from benchmarks.speed.records import Record, percentile
from loadtest.corpus import generate
from loadtest.moving import new_word, word_file
from loadtest.webhook import push_event

_REPO = "pushed"
_FILES = 5000
_MEAN_BYTES = 865
_CHANGED = 10
_SEED = 5
# Of so many the slowest but one is the 95th percentile.
_PUSHES = 25
_FOUND_LIMIT_S = 60.0
# How exactly the time is known.
_POLL_S = 0.02


def push(bench: Bench) -> Record:
    """Push ten changed files to a repository of 5,000, again and again."""
    deployment = bench.fresh()
    files = dict(generate(_FILES, _SEED, _MEAN_BYTES))
    deployment.forge.commit(_REPO, files)
    note(f"push: indexing {_FILES:,} files")
    deployment.index(_REPO, deployment.forge.url(_REPO))
    rng = random.Random(_SEED)
    python = sorted(path for path in files if path.endswith(".py"))
    note(f"push: {_PUSHES} pushes")
    # The first finds workers that have never worked on a push.
    rows = [_push(deployment, files, rng.sample(python, _CHANGED), rng) for _ in range(_PUSHES + 1)][1:]
    found_s = [row["found_s"] for row in rows]
    figures = {
        "p50_s": round(percentile(found_s, 50), 3),
        "p95_s": round(percentile(found_s, 95), 3),
        "max_s": max(found_s),
        "pushes": len(rows),
        "changed_files": _CHANGED,
    }
    size = sum(len(text) for text in files.values())
    return Record("push", figures, rows, {"label": f"{_FILES:,} generated files", "files": _FILES, "bytes": size})


def _push(deployment: Deployment, files: dict[str, str], changed: list[str], rng: random.Random) -> dict[str, Any]:
    words = {path: new_word(rng) for path in changed}
    before = deployment.forge.git(_REPO, "rev-parse", "main")
    added = {path: files[path] + "\n\n" + word_file(word) for path, word in words.items()}
    after = deployment.forge.commit(_REPO, added)
    body, headers = push_event(deployment.secret, deployment.forge.url(_REPO), before, after)
    started = time.monotonic()
    deployment.send("POST", "/v1/webhooks/github", body, headers)
    answered_s = time.monotonic() - started
    for path, word in words.items():
        while not _finds(deployment, path, word):
            if time.monotonic() - started > _FOUND_LIMIT_S:
                raise MeasurementError(f"{word!r} in {path!r} was not found {_FOUND_LIMIT_S:.0f} s after its push")
            time.sleep(_POLL_S)
    return {"answered_s": round(answered_s, 3), "found_s": round(time.monotonic() - started, 3)}


def _finds(deployment: Deployment, path: str, word: str) -> bool:
    target = "/v1/search?" + urlencode({"q": word, "repo": _REPO, "limit": 3})
    return any(hit["path"] == path and word in hit["text"] for hit in deployment.send("GET", target)["hits"])
