"""Claims about a plain directory as a source."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chunker import names
from services.chunker.walk import DirectorySource
from services.core.errors import InvalidRequest
from services.core.model import FileRef, Skipped, SkipReason

LATER_NS = 4_000_000_000_000_000_000


def write(root, files):
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def source_of(root, **limits):
    return DirectorySource(root, clock=lambda: LATER_NS, **limits)


def listed(root, **limits):
    refs, skipped = source_of(root, **limits).files()
    return [ref.path for ref in refs], {entry.path: entry.reason for entry in skipped}


def test_every_file_is_listed_by_path_or_left_out_with_a_reason(tmp_path):
    write(tmp_path, {"b.py": b"b", "a/z.c": b"z", "a/logo.png": b"p", "e.py": b"", "big.c": b"x" * 101})

    paths, skipped = listed(tmp_path, max_file_bytes=100)

    assert paths == ["a/z.c", "b.py"]
    assert skipped == {
        "a/logo.png": SkipReason.BINARY,
        "big.c": SkipReason.TOO_LARGE,
        "e.py": SkipReason.EMPTY,
    }


def test_folders_of_tools_are_one_entry_each(tmp_path):
    write(
        tmp_path,
        {
            ".git/HEAD": b"x",
            "web/node_modules/a/b.js": b"x",
            "env/pyvenv.cfg": b"home = /usr",
            "env/lib/a.py": b"x",
            "target/CACHEDIR.TAG": b"Signature",
            "target/a.rs": b"x",
            "pyvenv.cfg": b"a marker at the root itself means nothing",
            "src/a.py": b"x",
        },
    )

    paths, skipped = listed(tmp_path)

    assert paths == ["pyvenv.cfg", "src/a.py"]
    assert skipped == {
        ".git/": SkipReason.IGNORED,
        "env/": SkipReason.VENDORED,
        "target/": SkipReason.IGNORED,
        "web/node_modules/": SkipReason.VENDORED,
    }


def test_ignore_files_hold_and_the_inner_one_wins(tmp_path):
    write(
        tmp_path,
        {
            ".gitignore": b"*.gen.py\nout/\n",
            ".quarryignore": b"data/*\n!data/keep.py\n",
            "a.gen.py": b"x",
            "out/a.py": b"x",
            "data/a.py": b"x",
            "data/keep.py": b"x",
            "sub/.gitignore": b"!b.gen.py\n",
            "sub/b.gen.py": b"x",
        },
    )

    paths, skipped = listed(tmp_path)

    assert paths == [".gitignore", ".quarryignore", "data/keep.py", "sub/.gitignore", "sub/b.gen.py"]
    assert skipped == dict.fromkeys(["a.gen.py", "data/a.py", "out/"], SkipReason.IGNORED)


def test_links_are_never_followed_and_special_files_never_opened(tmp_path):
    write(tmp_path, {"real/a.py": b"x"})
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "passwd.py").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.py")

    paths, skipped = listed(tmp_path)

    assert paths == ["real/a.py"]
    assert skipped == {
        "loop": SkipReason.SYMLINK,
        "self": SkipReason.SYMLINK,
        "passwd.py": SkipReason.SYMLINK,
        "pipe.py": SkipReason.SPECIAL,
    }


HOSTILE_NAMES = [
    b"new\nline.py",
    b"tab\t.py",
    b'quote".py',
    b"<img onerror=x>.py",
    b"n" * 252 + b".py",
    b"\xff\xfe.py",
    b"\\xff\\xfe.py",
    "e\u0301.py".encode(),
    "\u00e9.py".encode(),
    b"README",
    b"readme",
    b"aux",
    b"-rf",
    b"\xed\xa0\x80.py",
    "\u202egpj.py".encode(),
]


def test_hostile_names_are_listed_apart_and_read_back(tmp_path):
    for name in HOSTILE_NAMES:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(name)

    source = source_of(tmp_path)
    refs, skipped = source.files()

    assert not skipped
    assert len({ref.path for ref in refs}) == len(HOSTILE_NAMES)
    assert [names.name_bytes(ref.locator) for ref in refs] == list(source.read(refs))
    assert all(ref.path.encode() for ref in refs)


def unescape(text):
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())


@given(st.binary() | st.text(st.sampled_from("\\x5cf0é")).map(str.encode))
def test_a_displayed_name_is_unicode_and_belongs_to_one_file_only(name):
    shown = names.display(names.locator(name))

    assert unescape(shown) == name
    assert names.name_bytes(names.locator(name)) == name


def test_a_tree_of_a_hundred_levels_is_listed(tmp_path):
    deep = "/".join("d" * 10 for _ in range(100)) + "/a.py"
    write(tmp_path, {deep: b"x"})

    assert listed(tmp_path)[0] == [deep]


def test_a_path_longer_than_the_system_allows_is_left_out(tmp_path):
    write(tmp_path, {"a.py": b"x"})
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    paths, skipped = listed(tmp_path)

    assert paths == ["a.py"]
    assert list(skipped.values()) == [SkipReason.UNREADABLE]


def test_files_that_change_under_the_reader_have_a_reason(tmp_path):
    write(tmp_path, {f"{name}.py": b"x" for name in ("gone", "link", "pipe", "folder", "grown", "same")})
    source = source_of(tmp_path, max_file_bytes=10)
    refs, _ = source.files()
    for name in ("gone", "link", "pipe", "folder"):
        (tmp_path / f"{name}.py").unlink()
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "grown.py").write_bytes(b"x" * 11)

    read = zip(refs, source.read(refs), strict=True)
    found = {ref.path: got.reason if isinstance(got, Skipped) else got for ref, got in read}

    assert found == {
        "gone.py": SkipReason.VANISHED,
        "link.py": SkipReason.SYMLINK,
        "pipe.py": SkipReason.SPECIAL,
        "folder.py": SkipReason.SPECIAL,
        "grown.py": SkipReason.TOO_LARGE,
        "same.py": b"x",
    }


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose every read fails")
def test_a_read_error_is_a_reason_not_a_crash():
    source = DirectorySource(Path("/proc/self"))

    [found] = source.read([FileRef("mem", "mem", "1:1", 1)])

    assert found == Skipped("mem", SkipReason.UNREADABLE, "Input/output error")


def test_a_socket_put_in_a_files_place_is_special(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.py")

        [found] = source_of(tmp_path).read([FileRef("a.py", "a.py", "1:1", 1)])

    assert found.reason is SkipReason.SPECIAL


def test_a_fingerprint_is_size_and_time_and_a_file_just_written_equals_no_other(tmp_path):
    write(tmp_path, {"old.py": b"four", "new.py": b"x"})
    os.utime(tmp_path / "old.py", ns=(1, 10**18))
    os.utime(tmp_path / "new.py", ns=(1, 10**18 + 1))
    moments = iter([10**18 + 2 * 10**9 + 1, 10**18 + 2 * 10**9])

    def fingerprints():
        refs, _ = DirectorySource(tmp_path, clock=lambda: next(moments)).files()
        return {ref.path: ref.fingerprint for ref in refs}

    first, second = fingerprints(), fingerprints()

    assert first["old.py"] == second["old.py"] == f"4:{10**18}"
    assert first["new.py"] == f"1:{10**18 + 1}" != second["new.py"]


def test_the_revision_changes_with_any_file_and_only_then(tmp_path):
    write(tmp_path, {"a.py": b"x", "b.png": b"x"})
    before = source_of(tmp_path).revision()

    same = source_of(tmp_path).revision()
    write(tmp_path, {"a.py": b"xy"})
    changed = source_of(tmp_path).revision()
    (tmp_path / "b.png").unlink()
    fewer = source_of(tmp_path).revision()

    assert before == same
    assert len({before, changed, fewer}) == 3
    assert re.fullmatch(r"dir:[0-9a-f]{64}", before)


@pytest.mark.parametrize("path", ["missing", "file"])
def test_a_root_that_is_no_directory_is_refused(tmp_path, path):
    (tmp_path / "file").touch()

    with pytest.raises(InvalidRequest, match="can't be listed"):
        source_of(tmp_path / path).files()


def test_an_empty_directory_is_an_empty_listing(tmp_path):
    assert source_of(tmp_path).files() == ([], [])


def test_a_subdirectory_of_a_repository_does_not_heed_rules_above_it(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True, capture_output=True)
    write(tmp_path, {".gitignore": b"*.py\n", "sub/a.py": b"x"})

    assert listed(tmp_path / "sub")[0] == ["a.py"]
