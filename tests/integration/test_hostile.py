"""Bad input and bad luck, through the command line: everything else is indexed, nothing is lost, the reason is told."""

import os
import shutil
import subprocess
import threading

import pytest

from tests.integration.conftest import Quarry

GOOD = "def survivor():\n    return 'still here'\n"


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "good.py").write_text(GOOD)
    return folder


def hostile_files(folder):
    """Write files that have broken indexers; return what is expected of each."""
    (folder / "latin.py").write_bytes("name = 'caf\xe9'\n".encode("latin-1"))
    (folder / "utf16.py").write_bytes("wide_name = 1\n".encode("utf-16"))
    (folder / "nul.py").write_bytes(b"x = 1\0\n")
    (folder / "one_line.js").write_bytes(b"x" * 50_000_000)
    (folder / "parens.c").write_bytes((b"(" * 100 + b"\n") * 1000)
    (folder / "nested.py").write_bytes((b"(" * 100 + b"\n") * 1000 + (b")" * 100 + b"\n") * 1000)
    (folder / "new\nline.py").write_text("newline_name = 1\n")
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe")
    with open(os.fsencode(folder) + b"/bad\xff.py", "w") as file:
        file.write("byte_name = 1\n")
    return {"binary": 1, "too_large": 1, "symlink": 2, "special_file": 1}


def test_hostile_files_are_indexed_or_left_out_with_a_reason(quarry, tree):
    expected = hostile_files(tree)

    counts = quarry.json("index", tree)

    assert counts["skipped"] == expected
    for name, path in [
        ("survivor", "good.py"),
        ("café", "latin.py"),
        ("wide_name", "utf16.py"),
        ("newline_name", "new\nline.py"),
        ("byte_name", "bad\\xff.py"),
    ]:
        assert quarry.paths(name, "--mode", "exact") == [path]
    (status,) = quarry.json("status")["repos"]
    assert {file["reason"] for file in status["cut_by_lines"]} == {"parser_too_deep"}


def test_a_file_that_takes_too_long_to_parse_is_cut_by_lines_and_says_so(tmp_path, tree):
    (tree / "slow.c").write_bytes(b"a=1\n" * 200_000)
    quarry = Quarry(tmp_path / "home", {"QUARRY_PARSE_TIMEOUT_S": "0.2"})

    counts = quarry.json("index", tree)

    assert counts["files"] == 2
    (status,) = quarry.json("status")["repos"]
    assert {"path": "slow.c", "reason": "parser_timed_out"} in status["cut_by_lines"]


def test_files_that_come_and_go_while_it_indexes_do_no_harm(quarry, tree):
    for number in range(300):
        (tree / f"f{number}.py").write_text(GOOD.replace("survivor", f"name_{number}"))
    done = threading.Event()

    def churn():
        while not done.is_set():
            for number in range(300):
                (tree / f"f{number}.py").unlink(missing_ok=True)
                (tree / f"g{number}.py").write_text(GOOD)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        first = quarry.run("index", tree, "--json")
    finally:
        done.set()
        thread.join()

    assert first.returncode == 0, first.stderr
    assert quarry.json("index", tree)["files"] == 301
    assert quarry.run("doctor").returncode == 0


def test_a_full_disk_is_one_line_and_the_job_goes_on_afterwards(tmp_path, tree):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("a small file system can't be mounted without root")
    try:
        quarry = Quarry(small / "home")
        assert quarry.json("index", tree)["files"] == 1
        (small / "filler").write_bytes(b"x" * (300 << 20))
        (tree / "more.py").write_text(GOOD.replace("survivor", "latecomer"))

        done = quarry.run("index", tree)

        assert done.returncode == 3, done.stderr
        assert "MiB free" in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert quarry.paths("survivor", "--mode", "symbol") == ["good.py"]
        (small / "filler").unlink()
        assert quarry.json("index", tree)["files"] == 2
        assert quarry.run("doctor").returncode == 0
    finally:
        subprocess.run(["umount", small], check=True)


def stored_files(home, folder):
    return sorted(path for path in (home / folder).rglob("*") if path.is_file() and path.stat().st_size > 0)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_damaged_blobs_are_named_never_served_and_rebuilt(quarry, tree, damage):
    quarry.json("index", tree)
    for path in stored_files(quarry.home, "blobs"):
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[len(data) // 3] ^= 4
            path.write_bytes(data)
        elif damage == "truncate":
            path.write_bytes(data[: len(data) // 2])
        else:
            path.unlink()

    doctor = quarry.run("doctor")
    assert doctor.returncode == 4
    assert "quarry rebuild tree" in doctor.stdout
    for hit in quarry.json("search", "survivor")["hits"]:
        assert hit["text"] == GOOD

    assert quarry.run("rebuild").returncode == 0
    assert quarry.paths("survivor", "--mode", "exact") == ["good.py"]
    assert quarry.run("doctor").returncode == 0


def test_damaged_vectors_are_refused_by_name_and_rebuilt_without_embedding(quarry, tree):
    quarry.json("index", tree)
    victim = max(stored_files(quarry.home, "vectors"), key=lambda path: path.stat().st_size)
    victim.write_bytes(b"")

    done = quarry.run("search", "survivor")

    assert done.returncode == 4
    assert "quarry rebuild" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert quarry.run("rebuild").returncode == 0
    assert quarry.paths("survivor") == ["good.py"]


@pytest.mark.parametrize(("victim", "words"), [("vectors", "quarry rebuild"), ("catalog.db", "catalog.db")])
def test_what_is_missing_is_named_and_not_taken_for_an_empty_index(quarry, tree, victim, words):
    quarry.json("index", tree)
    path = quarry.home / victim
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    done = quarry.run("search", "survivor")

    assert done.returncode == 4
    assert words in done.stderr


def test_a_damaged_catalog_is_refused_and_a_damaged_cache_is_forgotten(quarry, tree):
    quarry.json("index", tree)
    (quarry.home / "cache.db").write_bytes(b"rubbish" * 1000)
    (tree / "more.py").write_text("more = 1\n")
    assert quarry.json("index", tree)["files"] == 2

    for name in ("catalog.db", "catalog.db-wal"):
        (quarry.home / name).unlink(missing_ok=True)
    (quarry.home / "catalog.db").write_bytes(b"rubbish" * 1000)
    done = quarry.run("search", "survivor")

    assert done.returncode == 4
    assert "catalog.db" in done.stderr


def test_a_home_inside_the_tree_is_not_indexed_with_it(tree):
    quarry = Quarry(tree / "data")

    quarry.json("index", tree)

    assert quarry.json("index", tree)["files"] == 1


def test_a_second_server_on_the_same_home_is_refused(quarry):
    with quarry.serving():
        done = quarry.run("serve", "--port", "0")

    assert done.returncode == 3
    assert "in use by 'serve'" in done.stderr
