"""What must be findable, computed from git alone, compared with what the stores hold: none of Quarry's code takes part.

    python -m tests.oracle --env .stack/env

Every file of the tip of every repository is tiled exactly by the texts of its points, or skipped with a reason;
there is no point of another revision, of a file that is not there, or of a repository that is not there; every text has
the digest that its point says; and every job has ended, `done` or `failed` with a reason.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import blake3
import minio
import psycopg
import zstandard

# One collection is live; the alias says which.
_ALIAS = "quarry"
_PAGE = 1000
_OPEN = ("queued", "running")
_MODES = (b"100644", b"100755")
# A file that is no UTF-8 is stored as what it most likely says; which of these that is, is not the oracle's business.
_ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1")


@dataclass
class Findings:
    """What was compared, and what is wrong with it; `lost` counts the files whose text is not there as git has it."""

    repositories: int = 0
    files: int = 0
    points: int = 0
    lost: int = 0
    skipped: Counter = field(default_factory=Counter)
    jobs: Counter = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Oracle:
    """Readers of PostgreSQL, Qdrant, the object store and git, with the addresses of an environment."""

    def __init__(self, environment):
        self._database = environment["QUARRY_DATABASE_URL"].replace("+psycopg", "")
        self._qdrant = environment["QUARRY_QDRANT_URL"].rstrip("/")
        self._key = environment.get("QUARRY_QDRANT_API_KEY", "")
        where = urlsplit(environment["QUARRY_S3_URL"])
        self._bucket = where.path.strip("/")
        self._objects = minio.Minio(
            where.netloc,
            environment["QUARRY_S3_ACCESS_KEY"],
            environment["QUARRY_S3_SECRET_KEY"],
            secure=where.scheme == "https",
            region=environment.get("QUARRY_S3_REGION", "us-east-1"),
        )
        self._packs = {}

    def check(self, names=None):
        """Compare the repositories called `names`, or everything, jobs and strangers' points included."""
        findings = Findings()
        rows = self._rows("SELECT name, source, ref, revision, manifest FROM repos WHERE NOT removing ORDER BY name")
        points = self._points(names)
        for name, source, ref, revision, manifest in rows:
            if names is None or name in names:
                findings.repositories += 1
                self._check_repository(findings, (name, source, ref, revision, manifest), points.pop(name, []))
        findings.problems += [f"{name}: {len(left)} points of no repository" for name, left in points.items()]
        if names is None:
            self._check_jobs(findings)
        return findings

    def is_settled(self, names):
        """Return whether all jobs of these repositories have ended and left nothing to clean up."""
        return not self.unsettled(names)

    def is_idle(self, names):
        """Return whether all jobs of these repositories have ended."""
        return not [job for job in self.unsettled(names) if job[2] in _OPEN]

    def unsettled(self, names):
        """Return the jobs of these repositories that have not, as (id, repository, state, what is to be cleaned up)."""
        query = "SELECT id, repo, state, cleanup FROM jobs WHERE repo = ANY(%s) AND (state = ANY(%s) OR cleanup <> '')"
        return self._rows(query, names, list(_OPEN))

    def live(self, name):
        """Return the revision of a repository that is live."""
        return self._rows("SELECT revision FROM repos WHERE name = %s", name)[0][0]

    def jobs(self):
        """Return how many jobs there are in each state."""
        return Counter(dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state")))

    def failures(self):
        """Return why jobs have failed, the first first."""
        return [error for (error,) in self._rows("SELECT error FROM jobs WHERE state = 'failed' ORDER BY finished_at")]

    def count(self, name):
        """Return how many points of a repository there are, hidden ones included."""
        body = {"exact": True, "filter": _of([name])}
        return self.ask("POST", f"/collections/{_ALIAS}/points/count", body)["count"]

    def _check_repository(self, findings, row, points):
        name, source, ref, revision, manifest = row
        generations = {job for (job,) in self._rows("SELECT id FROM jobs WHERE repo = %s AND state = 'done'", name)}
        with tempfile.TemporaryDirectory(prefix="quarry-oracle-") as folder:
            tip, tree = _tree(Path(folder), source, ref)
            if tip != revision:
                findings.lost += len(tree)
                findings.problems.append(f"{name}: live is {revision or 'nothing'}, git has {tip}")
                return
            skipped = self._skipped(manifest)
            by_path = defaultdict(list)
            for point in points:
                by_path[point["path"]].append(point)
                if "retired" in point or point["gen"] not in generations:
                    findings.problems.append(f"{name}: {point['path']} has a point of a generation that is not live")
            for path, content in tree.items():
                found = by_path.pop(path, [])
                findings.points += len(found)
                findings.files += 1
                wrong = [f"{name}: {path}: {each}" for each in self._wrong(content, found, skipped.get(path))]
                findings.lost += bool(wrong)
                findings.problems += wrong
                findings.skipped.update([skipped[path]] if path in skipped else [])
            findings.problems += [f"{name}: {path} has points and is not in git" for path in by_path]

    def _wrong(self, content, points, reason):
        """Yield what is wrong with the points of a file."""
        if reason or not points:
            if points:
                yield f"was skipped as {reason} and has {len(points)} points"
            elif not reason:
                yield f"has no points and no reason for it, {len(content)} bytes"
            return
        points = sorted(points, key=lambda point: point["ordinal"])
        if [point["ordinal"] for point in points] != list(range(len(points))):
            yield f"has chunks {[point['ordinal'] for point in points]}"
            return
        texts = [self._text(point) for point in points]
        if any(blake3.blake3(text).hexdigest() != point["digest"] for text, point in zip(texts, points, strict=True)):
            yield "has a text that does not match its digest"
        whole, start = b"".join(texts), 0
        if whole not in _readings(content):
            yield f"is {len(content)} bytes in git, its {len(points)} chunks are {len(whole)} others"
            return
        for text, point in zip(texts, points, strict=True):
            first = 1 + whole.count(b"\n", 0, start)
            if point["bytes"] != [start, start + len(text)] or point["lines"][0] != first:
                yield f"chunk {point['ordinal']} says it is at {point['bytes']}, line {point['lines'][0]}"
            start += len(text)

    def _check_jobs(self, findings):
        for job, state, error, cleanup, holder in self._rows("SELECT id, state, error, cleanup, holder FROM jobs"):
            findings.jobs[state] += 1
            if state != "done" and (state != "failed" or not error):
                findings.problems.append(f"job {job} is {state} with error {error!r}")
            if cleanup or holder:
                findings.problems.append(f"job {job} is not cleaned up ({cleanup!r}), held by {holder!r}")

    def _text(self, point):
        offset, length, _size = point["at"]
        frame = self._object(point["pack"])[offset : offset + length]
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=1 << 26)

    def _object(self, digest):
        if digest not in self._packs:
            answer = self._objects.get_object(self._bucket, f"{digest[:2]}/{digest}")
            try:
                self._packs[digest] = answer.read()
            finally:
                answer.close()
                answer.release_conn()
            if blake3.blake3(self._packs[digest]).hexdigest() != digest:
                raise AssertionError(f"object {digest} does not match its digest")
        return self._packs[digest]

    def _skipped(self, manifest):
        if not manifest:
            return {}
        document = json.loads(zstandard.ZstdDecompressor().decompress(self._object(manifest), max_output_size=1 << 30))
        return {path: reason for path, reason, _detail in document["skipped"]}

    def _points(self, names):
        """Return the payloads of all points, or those of `names`, by repository."""
        found, offset = defaultdict(list), None
        while True:
            body = {"limit": _PAGE, "with_payload": True, "with_vector": False, "offset": offset}
            body |= {"filter": _of(names)} if names else {}
            page = self.ask("POST", f"/collections/{_ALIAS}/points/scroll", body)
            for point in page["points"]:
                payload = point["payload"] | json.loads(point["payload"]["rest"])
                found[payload["repo"]].append(payload)
            offset = page["next_page_offset"]
            if offset is None:
                return found

    def ask(self, method, path, body):
        """Return what Qdrant answers."""
        headers = {"Content-Type": "application/json"} | ({"api-key": self._key} if self._key else {})
        request = urllib.request.Request(self._qdrant + path, json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["result"]

    def _rows(self, query, *values):
        with psycopg.connect(self._database) as connection:
            return connection.execute(query, values).fetchall()


def _of(names):
    return {"must": [{"key": "repo", "match": {"any": names}}]}


def _tree(folder, source, ref):
    """Return the commit that a ref names at its server now, and the files of it: path to content."""
    _git(folder, "init", "--quiet", "--bare", ".")
    _git(folder, "fetch", "--quiet", "--depth=1", source, ref or "HEAD")
    tip = _git(folder, "rev-parse", "FETCH_HEAD").decode().strip()
    entries = [line.split(b"\t", 1) for line in _git(folder, "ls-tree", "-r", "-z", tip).split(b"\0")[:-1]]
    files = [
        (path.decode(errors="backslashreplace"), meta.split()[2]) for meta, path in entries if meta.split()[0] in _MODES
    ]
    output = _git(folder, "cat-file", "--batch", stdin=b"".join(oid + b"\n" for _, oid in files))
    tree = {}
    for path, _ in files:
        header, _, output = output.partition(b"\n")
        size = int(header.split()[2])
        tree[path], output = output[:size], output[size + 1 :]
    return tip, tree


def _git(folder, *words, stdin=b""):
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(["git", "-C", folder, *words], input=stdin, capture_output=True, env=clean, check=False)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(words)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _readings(content):
    """Return every text that the bytes of a file may stand for, as UTF-8."""
    found = {content, content.decode("utf-8", "replace").encode()}
    for encoding in _ENCODINGS:
        try:
            found.add(content.decode(encoding).encode())
        except UnicodeError:
            continue
    return found


def main(arguments=None):
    """Print what was compared as JSON; the exit status is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__.splitlines()[0])
    parser.add_argument("--env", type=Path, help="file of shell assignments; without it the environment itself")
    parser.add_argument("names", nargs="*", help="repositories; all of them if none is named")
    options = parser.parse_args(arguments)
    words = shlex.split(options.env.read_text(), comments=True) if options.env else []
    environment = dict(os.environ) | dict(word.split("=", 1) for word in words)
    findings = Oracle(environment).check(options.names or None)
    print(json.dumps(asdict(findings), indent=1))
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
