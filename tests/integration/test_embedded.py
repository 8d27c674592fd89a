"""The embedded mode from end to end, through the command line."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from loadtest.corpus import write
from tests.integration.conftest import Quarry

PARSER = "def parse_invoice(text):\n    '''Read an invoice from its text.'''\n    return text.split(';')\n"
CLIENT = "class HttpClient:\n    def fetch(self, url):\n        return self.session.get(url)\n"


def test_a_repository_is_indexed_and_answers_in_every_mode(quarry, repo):
    revision = repo.commit(src__invoice_dot_py=PARSER, src__client_dot_py=CLIENT)

    counts = quarry.json("index", repo.path)

    assert (counts["repo"], counts["revision"], counts["files"]) == ("project", revision, 2)
    assert counts["embedded"] == counts["chunks"] > 0
    for query, mode in [
        ("read an invoice", "hybrid"),
        ("decode a receipt", "semantic"),
        ("parse_invoice", "lexical"),
        ("text.split(';')", "exact"),
        (r"def \w+_invoice", "regex"),
        ("parse_invoice", "symbol"),
    ]:
        answer = quarry.json("search", query, "--mode", mode)
        hit = answer["hits"][0]
        assert (hit["path"], hit["revision"], hit["language"]) == ("src/invoice.py", revision, "python"), mode
        assert (hit["start_line"], hit["end_line"], hit["text"]) == (1, 3, PARSER), mode


def test_a_transformer_judges_again_where_it_is_switched_on(quarry, repo):
    repo.commit(src__invoice_dot_py=PARSER, src__client_dot_py=CLIENT)
    quarry.json("index", repo.path)

    without = quarry.json("search", "read an invoice", "--explain")["hits"]
    quarry.env["QUARRY_RERANK"] = "onnx"
    judged = quarry.json("search", "read an invoice", "--explain")["hits"]

    assert all("rerank" not in hit["rules"] for hit in without)
    assert all("rerank" in hit["rules"] for hit in judged)
    assert judged[0]["path"] == "src/invoice.py"


def test_the_same_revision_again_does_nothing(quarry, repo):
    repo.commit(a_dot_py=PARSER)
    quarry.json("index", repo.path)

    counts = quarry.json("index", repo.path)

    assert (counts["files"], counts["changed"], counts["embedded"]) == (1, 0, 0)


def test_a_new_revision_costs_what_changed(quarry, repo):
    repo.commit(a_dot_py=PARSER, b_dot_py=CLIENT, c_dot_py="x = 1\n" * 30)
    quarry.json("index", repo.path)
    repo.commit(b_dot_py=CLIENT.replace("fetch", "download"))

    counts = quarry.json("index", repo.path)

    assert (counts["files"], counts["changed"], counts["embedded"]) == (3, 1, 1)
    assert quarry.paths("download", "--mode", "symbol") == ["b.py"]
    assert quarry.paths("fetch", "--mode", "symbol") == []


def test_deleted_and_renamed_files_are_gone_under_the_old_name(quarry, repo):
    repo.commit(a_dot_py=PARSER, b_dot_py=CLIENT)
    quarry.json("index", repo.path)
    repo.commit(a_dot_py=None, b_dot_py=None, lib__http_dot_py=CLIENT)

    counts = quarry.json("index", repo.path)

    assert (counts["files"], counts["embedded"]) == (1, 0)
    assert set(quarry.paths("parse invoice or fetch a url")) == {"lib/http.py"}
    assert quarry.run("doctor").returncode == 0


def test_a_plain_directory_follows_size_time_and_content(quarry, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "a.py").write_text(PARSER)
    (folder / "b.py").write_text(CLIENT)
    quarry.json("index", folder)
    os.utime(folder / "a.py", (1, 1))
    (folder / "b.py").write_text(CLIENT.replace("HttpClient", "FtpClient"))

    counts = quarry.json("index", folder)

    assert counts["changed"] == 1
    assert quarry.paths("FtpClient", "--mode", "symbol") == ["b.py"]
    assert quarry.json("index", folder)["changed"] == 0


def test_another_ref_is_read_from_the_object_database(quarry, repo):
    repo.commit(a_dot_py=PARSER)
    repo.git("checkout", "-q", "-b", "side")
    side = repo.commit(b_dot_py=CLIENT)
    repo.git("checkout", "-q", "main")

    assert quarry.json("index", repo.path, "--ref", "side")["revision"] == side
    assert quarry.paths("HttpClient", "--mode", "symbol") == ["b.py"]


def test_equal_text_is_embedded_once_in_all_repositories(quarry, repo, tmp_path):
    repo.commit(a_dot_py=PARSER)
    quarry.json("index", repo.path)

    counts = quarry.json("index", repo.path / ".git", "--name", "fork")

    assert (counts["embedded"], counts["cached"]) == (0, counts["chunks"])
    assert {hit["repo"] for hit in quarry.json("search", "parse_invoice")["hits"]} == {"project", "fork"}
    assert [hit["repo"] for hit in quarry.json("search", "parse_invoice", "--repo", "fork")["hits"]] == ["fork"]


def test_the_cache_can_be_looked_at_cleared_and_switched_off(quarry, repo):
    repo.commit(a_dot_py=PARSER)
    quarry.json("index", repo.path)
    assert quarry.json("cache", "stats")["entries"] == 1

    quarry.run("cache", "clear")

    assert quarry.json("cache", "stats")["entries"] == 0
    off = Quarry(quarry.home, {"QUARRY_CACHE": "off"})
    assert off.json("index", repo.path / ".git", "--name", "fork")["embedded"] == 1
    assert off.json("cache", "stats")["entries"] == 0


def test_a_change_of_model_is_told_and_indexed_anew(quarry, repo):
    repo.commit(a_dot_py=PARSER, b_dot_py=CLIENT)
    onnx = Quarry(quarry.home, {"QUARRY_EMBEDDER": "onnx"})
    assert onnx.json("index", repo.path)["embedded"] == 2
    assert onnx.paths("download a web page")[0] == "b.py"

    answer = quarry.json("search", "download a web page")

    assert (answer["hits"], answer["outdated"]) == ([], ["project"])
    assert quarry.json("index", repo.path)["embedded"] == 2
    assert quarry.paths("parse_invoice")[0] == "a.py"


def test_a_removed_repository_is_not_found_any_more(quarry, repo):
    repo.commit(a_dot_py=PARSER)
    quarry.json("index", repo.path)

    quarry.json("remove", "project")

    assert quarry.paths("parse_invoice") == []
    assert quarry.json("repos")["repos"] == []
    assert not [path for path in (quarry.home / "blobs").rglob("*") if path.is_file()]
    assert quarry.run("remove", "project").returncode == 2


def test_every_file_left_out_has_a_reason(quarry, repo):
    (repo.path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (repo.path / "link").symlink_to("a.py")
    (repo.path / "secret.py").write_bytes(b"x = 1\0\n")
    repo.commit(a_dot_py=PARSER, huge_dot_txt="word\n" * 300_000, empty_dot_py="")

    counts = quarry.json("index", repo.path)

    assert counts["skipped"] == {"binary": 2, "empty": 1, "symlink": 1, "too_large": 1}
    (status,) = quarry.json("status", "--skipped")["repos"]
    assert {file["path"] for file in status["skipped_files"]} == {
        "logo.png",
        "secret.py",
        "link",
        "huge.txt",
        "empty.py",
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: subprocess.run(["git", "init", "-q", path], check=True), "commit"),
    ],
)
def test_what_cannot_be_indexed_is_one_clear_line(quarry, tmp_path, make, message):
    target = tmp_path / "target"
    make(target)

    done = quarry.run("index", target)

    assert done.returncode == 2
    assert done.stderr.startswith("quarry: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_an_empty_directory_is_an_empty_repository(quarry, tmp_path):
    (tmp_path / "empty").mkdir()

    assert quarry.json("index", tmp_path / "empty")["files"] == 0
    assert quarry.paths("anything") == []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write(folder, 1500, seed=7, mean_bytes=865)
    return folder


@pytest.fixture(scope="module")
def clean_counts(corpus, tmp_path_factory):
    return Quarry(tmp_path_factory.mktemp("clean") / "home").json("index", corpus)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_index_resumes_and_ends_with_the_same_points(quarry, corpus, clean_counts, seed):
    generator = random.Random(seed)
    for _ in range(3):
        process = quarry.start("index", corpus, "--json", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(0.3, 1.6))
        process.kill()
        process.wait()

    counts = quarry.json("index", corpus)

    assert (counts["files"], counts["chunks"]) == (clean_counts["files"], clean_counts["chunks"])
    assert quarry.run("doctor").stdout == "everything stored is whole and agrees\n"


def descendants(pid):
    """Return the ids of all processes below `pid`."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = list(parents.get(pid, []))
    for child in found:
        found += parents.get(child, [])
    return found


def test_workers_killed_in_the_middle_cost_nothing_but_time(quarry, corpus, clean_counts):
    with quarry.start("index", corpus, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        killed = 0
        while process.poll() is None and killed < 4:
            time.sleep(0.4)
            workers = descendants(process.pid)[1:]  # the first is the process that forks them
            for pid in workers[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        counts = json.load(process.stdout)

    assert killed
    assert counts["files"] == clean_counts["files"]
    # The file that a killed worker was parsing is suspected and cut by lines; a batch has hundreds of chunks.
    assert abs(counts["chunks"] - clean_counts["chunks"]) <= 5 * killed
    assert quarry.run("doctor").returncode == 0


@pytest.fixture(scope="module")
def large_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    write(folder, 8000, seed=8, mean_bytes=865)
    return folder


def wait_until_running(quarry, name):
    """Return when the job on repository `name` has been planned and has work to do."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(quarry.home / "catalog.db")) as db:
            if db.execute("SELECT 1 FROM jobs WHERE repo = ? AND state = 'running'", (name,)).fetchone():
                return
        time.sleep(0.02)
    raise AssertionError(f"no job runs on {name} after a minute")


def test_an_interrupt_is_one_line_and_nothing_is_lost(quarry, corpus, clean_counts):
    process = quarry.start("index", corpus, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until_running(quarry, corpus.name)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert err == "quarry: interrupted; the same command goes on from here\n"
    assert quarry.json("index", corpus)["chunks"] == clean_counts["chunks"]


def test_index_and_search_go_through_a_running_server(quarry, repo, corpus):
    with quarry.serving():
        repo.commit(a_dot_py=PARSER)
        assert quarry.json("index", repo.path)["files"] == 1
        with quarry.start("index", corpus, "--json", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as big:
            searches = 0
            while big.poll() is None:
                assert quarry.paths("parse_invoice", "--repo", "project") == ["a.py"]
                searches += 1
            assert big.returncode == 0, big.stderr.read()
        assert searches > 0
    assert quarry.run("doctor").returncode == 0


def test_a_search_is_answered_while_another_process_indexes(quarry, repo, large_corpus):
    repo.commit(a_dot_py=PARSER)
    quarry.json("index", repo.path)
    big = quarry.start("index", large_corpus, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_until_running(quarry, large_corpus.name)
        assert quarry.paths("parse_invoice", "--repo", "project") == ["a.py"]
        assert big.poll() is None, "the index ended before the search was asked"
    finally:
        big.communicate(timeout=120)
    assert big.returncode == 0
