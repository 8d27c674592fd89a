"""The distributed mode on real servers: index over HTTP, push through webhooks, and lose parts of it on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
import redis

from loadtest.corpus import generate
from tests.api_client import DELIVERIES, Client, until
from tests.oracle import Oracle

ROOT = Path(__file__).parents[2]
# Code of our own in several languages, documents and configuration: all of it text that must be found.
REAL_FOLDERS = ("services/core", "docs", "k8s/base")


def body(*words):
    """A file with a definition for each word."""
    return "".join(f"def {word}(value):\n    return value\n\n\n" for word in words)


def word():
    """A word that stands nowhere else."""
    return f"zq{uuid.uuid4().hex[:12]}"


def wipe(stack):
    with redis.Redis.from_url(stack.environment["QUARRY_BROKER_URL"]) as broker:
        broker.flushall()


@pytest.fixture
def name():
    return f"repo-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def secret(stack):
    return stack.environment["QUARRY_WEBHOOK_SECRET"]


@pytest.fixture
def oracle(stack):
    return Oracle(stack.environment)


@pytest.fixture
def problems(oracle):
    """Tell what is wrong with a repository when nothing of it is left to be cleaned up."""

    def compare(name):
        until(lambda: oracle.is_settled([name]), f"{name} is cleaned up")
        findings = oracle.check([name])
        assert findings.points
        return findings.problems

    return compare


def push(api, forge, secret, name, files, how="github", **more):
    """Commit, announce it, and return the revision and the job that brings it in, when that has ended."""
    revision = forge.commit(name, files, **more)
    answer = api.push(how, secret, forge.url(name), "0" * 40, revision)
    assert answer.status == 202, answer
    return revision, api.ended(answer.document["job"])


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        ("points/delete", {}, "has no points and no reason for it"),
        ("points/payload", {"payload": {"retired": 1}}, "has a point of a generation that is not live"),
        ("points/payload", {"payload": {"path": "b.py"}}, "b.py has points and is not in git"),
    ],
)
def test_the_oracle_notices_what_is_missing_stale_or_too_much(api, forge, name, oracle, path, change, said):
    forge.commit(name, {"a.py": body(word())})
    api.index(forge.url(name), name)
    assert oracle.check([name]).problems == []

    damaged = {"filter": {"must": [{"key": "repo", "match": {"any": [name]}}]}} | change
    oracle.ask("POST", f"/collections/quarry/{path}?wait=true", damaged)

    assert said in "; ".join(oracle.check([name]).problems)


def test_the_oracle_notices_a_push_that_is_not_live(api, forge, name, oracle):
    forge.commit(name, {"a.py": body(word())})
    api.index(forge.url(name), name)

    revision = forge.commit(name, {"a.py": body(word())})

    findings = oracle.check([name])
    assert findings.lost == 1
    assert revision in findings.problems[0]


def test_a_real_repository_is_indexed_and_its_lines_are_found(api, forge, name, problems):
    paths = [path for folder in REAL_FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix != ".pyc"]
    files = {str(path.relative_to(ROOT)): path.read_bytes() for path in paths if path.is_file()}
    revision = forge.commit(name, files)

    job = api.index(forge.url(name), name)

    empty = [path for path, content in files.items() if not content]
    assert (job["state"], job["revision"]) == ("done", revision)
    assert (job["counts"]["files"], job["counts"]["skipped"]) == (len(files) - len(empty), {"empty": len(empty)})
    line = 1 + files["services/core/digest.py"].partition(b"def digest(")[0].count(b"\n")
    assert ("services/core/digest.py", line, revision) in api.lines("def digest(data: bytes", name)
    best = api.hits("BLAKE3 content address of bytes", repo=name, limit=5)
    assert "services/core/digest.py" in [hit["path"] for hit in best]
    assert problems(name) == []


@pytest.mark.parametrize("how", DELIVERIES)
def test_a_push_shows_its_new_lines_and_not_the_old(api, forge, name, secret, how):
    old, new = word(), word()
    forge.commit(name, {"a.py": body(old, "kept_name")})
    api.index(forge.url(name), name)

    revision, job = push(api, forge, secret, name, {"a.py": body("kept_name", new)}, how)

    assert job["state"] == "done"
    assert api.lines(new, name) == [("a.py", 5, revision)]
    assert api.lines(old, name) == []


def test_no_search_sees_two_revisions_or_none_while_one_replaces_another(api, forge, name, secret):
    words = [word() for _ in range(4)]
    ballast = dict(generate(60, 1, 900))
    revisions = {forge.commit(name, ballast | {"a.py": body(words[0])}): words[0]}
    api.index(forge.url(name), name)
    seen, stop = [], threading.Event()

    def poll():
        client, last = Client(api.url), False
        # Once more after the last commit.
        while not last:
            last = stop.is_set()
            for mode in ("lexical", "exact"):
                queries = [" ".join(words)] if mode == "lexical" else words
                found = [hit for query in queries for hit in client.hits(query, repo=name, mode=mode, limit=50)]
                pairs = {(each, hit["revision"]) for hit in found for each in words if each in hit["text"]}
                seen.append((mode, pairs))

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        for each in words[1:]:
            revision, job = push(api, forge, secret, name, ballast | {"a.py": body(each)})
            assert job["state"] == "done"
            revisions[revision] = each
    finally:
        stop.set()
        poller.join()

    ranked = [pairs for mode, pairs in seen if mode == "lexical"]
    allowed = {(each, revision) for revision, each in revisions.items()}
    assert [pairs for pairs in ranked if len(pairs) != 1] == []
    assert set().union(*(pairs for _, pairs in seen)) <= allowed
    assert set().union(*ranked) == allowed


def test_a_fork_is_embedded_from_the_cache(api, forge, name):
    files = dict(generate(200, 2, 900))
    forge.commit(name, files)
    forge.commit(f"{name}-fork", files)
    api.index(forge.url(name), name)

    counts = api.index(forge.url(f"{name}-fork"), f"{name}-fork")["counts"]

    assert counts["embedded"] + counts["cached"] == counts["chunks"] >= 200
    assert counts["cached"] >= 0.99 * counts["chunks"]


def test_a_file_that_breaks_its_parser_does_not_fail_the_job(api, forge, name, problems):
    found = word()
    poison = {"deep.py": f"{found} = " + "(\n" * 100_000, "deep.json": "[\n" * 200_000, "deep.ml": "(*\n" * 40_000}
    forge.commit(name, {**poison, "fine.py": body("fine_name")})

    job = api.index(forge.url(name), name)

    assert (job["state"], job["error"]) == ("done", "")
    assert [path for path, _, _ in api.lines(found, name)] == ["deep.py"]
    assert api.repo(name, path="deep.py")["file"]["note"].startswith("parser_")
    assert problems(name) == []


def test_deleted_and_renamed_files_are_found_only_where_they_are(api, forge, name, secret, problems):
    moved, deleted = word(), word()
    forge.commit(name, {"old/m.py": body(moved), "d.py": body(deleted), "stays.py": body("stays")})
    api.index(forge.url(name), name)

    revision, _ = push(api, forge, secret, name, {"old/m.py": None, "new/m.py": body(moved), "d.py": None})

    assert api.lines(moved, name) == [("new/m.py", 1, revision)]
    assert api.lines(deleted, name) == []
    assert problems(name) == []


def test_a_forced_push_of_another_history_replaces_everything(api, forge, name, secret, problems):
    before, after = word(), word()
    forge.commit(name, {f"f{number}.py": body(f"{before}_{number}") for number in range(20)})
    api.index(forge.url(name), name)

    revision, _ = push(api, forge, secret, name, {"g.py": body(after)}, fresh=True)

    assert api.lines(after, name) == [("g.py", 1, revision)]
    assert api.lines(before, name) == []
    assert problems(name) == []


def test_a_branch_that_is_gone_fails_with_a_reason_and_a_retry_goes_on_when_it_is_back(api, forge, name, secret):
    first, second = word(), word()
    forge.commit(name, {"a.py": body(first)}, branch="release")
    api.index(forge.url(name), name, ref="release")
    forge.git(name, "update-ref", "-d", "refs/heads/release")
    zeros = "0" * 40
    body_, headers = DELIVERIES["github"](secret, forge.url(name), zeros, zeros, "release")

    failed = api.ended(api.call("POST", "/v1/webhooks/github", body_, headers).document["job"])
    forge.commit(name, {"a.py": body(second)}, branch="release")
    retried = api.call("POST", f"/v1/jobs/{failed['id']}/retry")

    assert failed["state"] == "failed"
    assert "has no branch, tag or commit 'release'" in failed["error"]
    assert retried.status == 202, retried
    assert api.done(retried.document["job"]["id"])["error"] == ""
    assert api.lines(first, name) == []
    assert len(api.lines(second, name)) == 1


def test_the_points_of_a_removed_repository_vanish(api, forge, name, oracle):
    forge.commit(name, dict(generate(50, 3, 900)))
    api.index(forge.url(name), name)
    assert oracle.count(name) >= 50

    assert api.call("DELETE", f"/v1/repos/{name}").status == 200

    assert api.call("GET", f"/v1/repos/{name}").status == 404
    assert api.call("GET", f"/v1/search?{urlencode({'q': 'list', 'repo': name})}").status == 404
    until(lambda: oracle.count(name) == 0, "its points are gone")


def test_replaced_points_are_deleted_after_the_grace_time(api, forge, name, secret, oracle, problems):
    forge.commit(name, {f"f{number}.py": body(word()) for number in range(30)})
    api.index(forge.url(name), name)

    _, job = push(api, forge, secret, name, {f"f{number}.py": body(word()) for number in range(30)})

    until(lambda: oracle.count(name) == job["counts"]["chunks"], "the replaced points are gone")
    assert problems(name) == []


def test_the_events_of_a_job_tell_its_progress_and_its_end(api, forge, name):
    forge.commit(name, dict(generate(200, 4, 900)))
    job = api.submit(forge.url(name), name).document["job"]["id"]

    events = api.events(job)

    names = [each for each, _ in events]
    assert names[:-1] == ["progress"] * (len(names) - 1)
    assert (names[-1], events[-1][1]["state"]) == ("end", "done")
    files = [document["progress"]["files_indexed"] for _, document in events]
    assert files == sorted(files)
    assert files[-1] == 200


def test_a_full_queue_refuses_and_loses_nothing_it_has_taken_on(api, forge, name, stack):
    limit = int(stack.environment["QUARRY_MAX_OPEN_JOBS"])
    for number in range(limit + 3):
        forge.commit(f"{name}-{number}", {"a.py": body(word())})
    with stack.paused("cloner"):
        answers = [api.submit(forge.url(f"{name}-{number}"), f"{name}-{number}") for number in range(limit + 3)]

    taken = [answer for answer in answers if answer.status == 202]
    refused = [answer for answer in answers if answer.status == 503]
    assert len(taken) == limit
    assert {answer.document["error"]["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    assert {api.ended(answer.document["job"]["id"])["state"] for answer in taken} == {"done"}


def test_a_wiped_broker_loses_nothing(api, forge, name, stack, problems):
    forge.commit(name, dict(generate(300, 5, 900)))
    with stack.paused("chunker"):
        job = api.submit(forge.url(name), name).document["job"]["id"]
        until(lambda: api.get(f"/v1/jobs/{job}")["progress"]["files"] == 300, "the job is planned")

        wipe(stack)

    assert api.done(job)["progress"]["files_indexed"] == 300
    assert problems(name) == []


def test_requests_after_a_wipe_go_through_queues_nobody_has_declared_since(api, forge, name, stack):
    forge.commit(name, {"a.py": body(word())})
    forge.commit(f"{name}-next", {"a.py": body(word())})
    api.index(forge.url(name), name)

    wipe(stack)

    assert api.index(forge.url(f"{name}-next"), f"{name}-next")["state"] == "done"


def test_without_a_broker_searches_and_requests_are_answered(api, forge, name, stack):
    found = word()
    forge.commit(name, {"a.py": body(found)})
    stack.stop_server("broker")
    try:
        taken = api.submit(forge.url(name), name)
        search = api.call("GET", "/v1/search?q=list")
    finally:
        stack.start_server("broker")

    assert (taken.status, search.status) == (202, 200)
    api.done(taken.document["job"]["id"])
    assert len(api.lines(found, name)) == 1


def test_a_broker_that_stands_still_keeps_nobody_waiting(api, forge, name, stack):
    forge.commit(name, {"a.py": body(word())})
    with stack.frozen("broker"):
        started = time.monotonic()
        taken = api.submit(forge.url(name), name)
        again = api.submit(forge.url(name), name)
        took_s = time.monotonic() - started

    assert (taken.status, again.status) == (202, 202)
    assert took_s < 8
    api.done(taken.document["job"]["id"])


@pytest.mark.parametrize("server", ["postgres", "qdrant", "objects"])
def test_without_a_store_searches_are_refused_for_now_and_answered_again(api, forge, name, stack, server):
    if server not in stack.servers:
        pytest.skip(f"{server} is not this test's to stop")
    found = word()
    forge.commit(name, {"a.py": body(found)})
    api.index(forge.url(name), name)
    query = f"/v1/search?{urlencode({'q': found, 'repo': name})}"

    stack.stop_server(server, signal.SIGINT if server == "postgres" else signal.SIGKILL)
    try:
        answers = [api.call("GET", query) for _ in range(3)]
    finally:
        stack.start_server(server)

    assert {answer.status for answer in answers} == {503}
    assert all(answer.headers["Retry-After"] for answer in answers)
    assert {answer.document["error"]["code"] for answer in answers} == {"unavailable"}
    until(lambda: api.call("GET", query).status == 200, "searches are answered again")
    assert len(api.hits(found, repo=name, mode="lexical")) == 1


def test_nothing_starts_on_a_broker_that_may_evict(stack):
    evicting = {"QUARRY_BROKER_URL": stack.environment["QUARRY_CACHE_URL"]}
    environment = os.environ | stack.environment | evicting | {"QUARRY_HEARTBEAT": str(stack.folder / "none.beat")}
    commands = [("services.distributed.worker", "cloner"), ("services.distributed.sweeper",)]
    start = [
        subprocess.Popen([sys.executable, "-m", *words], env=environment, stderr=subprocess.PIPE, text=True)
        for words in commands
    ]
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in start]

    assert [status for _, status in ended] == [2] * len(commands)
    assert all("maxmemory-policy allkeys-lru: it may drop queued messages" in text for text, _ in ended)


def test_the_ledger_ends_with_nothing_left_over(api, stack):
    address = stack.environment["QUARRY_DATABASE_URL"].replace("+psycopg", "")
    unfinished = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running') OR cleanup <> '' OR holder <> ''"
    with psycopg.connect(address, autocommit=True) as connection:
        until(lambda: connection.execute(unfinished).fetchone() == (0,), "every job has ended and is cleaned up")
        without_reason = (
            "SELECT id FROM jobs WHERE state NOT IN ('done', 'failed') OR (state = 'failed' AND error = '')"
        )
        assert connection.execute(without_reason).fetchall() == []
