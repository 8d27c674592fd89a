"""The recipe of the static model: what it is trained on, and what it must never be trained on."""

import hashlib
import io
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from models.archives import members
from models.comments import first_sentence, parted, summary
from models.fetch import fetch
from models.leaks import body_digest, is_copy, is_vendored, long_lines
from models.packages import Package, belongs, check, load_packages, names_of, never_train_on, plain
from models.pairs import masked, pairs_of
from services.core.errors import CorruptData, InvalidRequest, Unavailable

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = sorted((ROOT / "benchmarks" / "retrieval").glob("packages*.toml"))
LISTED = names_of(never_train_on())


def package(name, registry="npm", **changes):
    return Package(registry, name, "1.0.0", "0" * 64, "javascript", "MIT", **changes)


def test_no_package_is_of_a_repository_that_is_never_trained_on():
    check(load_packages(), never_train_on())


@pytest.mark.parametrize(
    "name",
    [
        "flask",
        "express",
        "serde",
        "tokio-util",
        "github.com/gin-gonic/gin",
        "com.google.code.gson:gson",
        "ruby-rack",
        "php-monolog",
        "@trpc/server",
        "go.etcd.io/etcd/v3",
        "org.http4s:http4s-core_2.13",
        "php-illuminate-http",
        "zod",
    ],
)
def test_a_package_of_a_listed_repository_is_refused(name):
    with pytest.raises(InvalidRequest, match="never-train-on"):
        check([package("left-pad"), package(name)], never_train_on())


@pytest.mark.parametrize("name", ["networkx", "expression", "com.google.guava:guava", "clickhouse", "serdes"])
def test_a_package_with_a_similar_name_is_not_refused(name):
    assert not belongs(name, LISTED)


@pytest.mark.parametrize("file", QUESTIONS, ids=lambda file: file.name)
def test_nothing_is_trained_on_that_the_benchmark_asks_about(file):
    asked = tomllib.loads(file.read_text())["package"]
    trained = [found for found in load_packages() if not found.held_out]

    assert {(p["registry"], p["name"]) for p in asked} & {(p.registry, p.name) for p in trained} == set()
    repositories = {p["repository"] for p in asked if p.get("repository")}
    own = {plain(repository.rpartition("/")[2]) for repository in repositories} | {plain(p["name"]) for p in asked}
    assert [p.name for p in trained if plain(p.name.rpartition("/")[2].rpartition(":")[2]) in own] == []


def test_every_package_is_pinned_once_and_has_a_licence():
    packages = load_packages()

    assert len({(p.registry, p.name) for p in packages}) == len(packages)
    assert [p.name for p in packages if len(p.sha256) != 64 or not p.version or p.licence in ("", "?")] == []


@pytest.mark.parametrize(
    "path",
    ["a-1/third_party/redis/ae.c", "a-1/src/fmt/core.h", "a-1/_click/core.py", "a-1/json.hpp", "a-1/express.js"],
)
def test_files_named_like_a_listed_repository_are_left_out(path):
    assert is_vendored(path, LISTED)


def test_the_root_of_an_archive_may_be_called_anything():
    assert not is_vendored("click-8/src/parser.py", LISTED)


def test_a_body_of_which_a_third_is_known_is_a_copy():
    body = "\n".join(f"value_of_line_{n} = compute_something(first, second_{n})" for n in range(9))
    lines = body.splitlines()

    assert is_copy(body, long_lines("\n".join(lines[:3])))
    assert not is_copy(body, long_lines("\n".join(lines[:2])))
    assert not is_copy("}\n", long_lines(body))


def test_white_space_does_not_make_another_body():
    assert body_digest("if (a) {\n\tb();\n}") == body_digest("if (a)\n{ b(); }")


@pytest.mark.parametrize(
    ("language", "text", "doc", "code"),
    [
        ("c", "/* Close the socket. */\nvoid f(void) {}", "Close the socket.", "void f(void) {}"),
        ("java", "/**\n * Close it.\n * @param a b\n */\nvoid f() {}", "Close it.\n@param a b", "void f() {}"),
        (
            "go",
            "// Close ends it.\n// Twice is fine.\nfunc Close() {}",
            "Close ends it.\nTwice is fine.",
            "func Close() {}",
        ),
        ("rust", "/// Ends it.\n#[inline]\nfn f() {}", "Ends it.", "fn f() {}"),
        ("python", 'def f(a):\n    """Close it."""\n    return a\n', "Close it.", "def f(a):\n    return a\n"),
        ("lua", "--- Close it.\nfunction f() end", "Close it.", "function f() end"),
        ("haskell", "-- | Close it.\nf :: Int\nf = 1", "Close it.", "f :: Int\nf = 1"),
        ("elixir", '@doc """\nClose it.\n"""\ndef f, do: 1', "\nClose it.\n", "def f, do: 1"),
        ("bash", "# Close it.\nf() { :; }", "Close it.", "f() { :; }"),
        ("ruby", "def f; end", "", "def f; end"),
    ],
)
def test_a_comment_is_parted_from_its_code(language, text, doc, code):
    assert parted(text, language) == (doc, code)


@pytest.mark.parametrize(
    ("doc", "said"),
    [
        ("Reads the whole file\ninto memory.\n\nMore of it.", "Reads the whole file into memory"),
        ("Reads the <b>file</b> at {@link Path}.\n@param path it", "Reads the file at Path"),
        ("Copyright 2020 The Authors of This", ""),
        ("Too short", ""),
        ("==== ++++ ---- !!!! 1234 5678", ""),
    ],
)
def test_a_summary_is_the_first_paragraph_in_plain_words(doc, said):
    assert summary(doc) == said


def test_the_first_sentence_ends_at_its_full_stop():
    assert first_sentence("Opens the file e.g. a log. Then reads it") == "Opens the file e.g. a log"
    assert first_sentence("Opens it. Then reads all lines") == "Opens it. Then reads all lines"


def test_a_function_with_a_comment_and_one_without_are_pairs():
    code = (
        b'def read_lines(path):\n    """Read the lines of a file."""\n    with open(path) as file:\n'
        b"        return file.read().splitlines()\n\n\ndef write_lines(path, lines):\n"
        b"    with open(path, 'w') as file:\n        file.write('\\n'.join(lines))\n"
    )

    read, write = pairs_of("package/files.py", code)

    assert (read.text, read.is_named, read.language) == ("Read the lines of a file", False, "python")
    assert "Read the lines" not in read.code
    assert "read_lines" not in masked(read)
    assert (write.text, write.is_named) == ("write lines", True)


@pytest.mark.parametrize("path", ["package/tests/test_files.py", "package/vendor/files.py", "package/files_pb2.py"])
def test_tests_vendored_and_generated_files_give_no_pairs(path):
    code = b'def read_lines(path):\n    """Read the lines of a file."""\n    return open(path).read().splitlines()\n'

    assert list(pairs_of(path, code)) == []
    assert len(list(pairs_of("package/files.py", code))) == 1


def tar_bytes(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:xz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def test_every_kind_of_archive_gives_its_files(tmp_path):
    files = {"a/one.py": b"1", "a/two.py": b"22"}
    tar = tar_bytes(files)
    with zipfile.ZipFile(tmp_path / "zip", "w") as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    (tmp_path / "tar").write_bytes(tar)
    head = b"debian-binary   0           0     0     100644  4         `\n2.0\n"
    (tmp_path / "deb").write_bytes(b"!<arch>\n" + head + f"{'data.tar.xz':<48}{len(tar):<10}`\n".encode() + tar)

    assert [dict(members(tmp_path / kind)) for kind in ("zip", "tar", "deb")] == [files] * 3


@pytest.fixture
def client(tmp_path, monkeypatch):
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nprintf archive > "$5/it.tgz"\necho ran >> "$0.log"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    return script.with_name("npm.log")


def test_a_package_is_fetched_once(tmp_path, client):
    wanted = Package("npm", "it", "1.0.0", hashlib.sha256(b"archive").hexdigest(), "javascript", "MIT")

    paths = [fetch(wanted, tmp_path / "archives") for _ in range(2)]

    assert [path.read_bytes() for path in paths] == [b"archive"] * 2
    assert client.read_text() == "ran\n"


def test_the_folder_of_archives_may_be_relative(tmp_path, client, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = Package("npm", "it", "1.0.0", hashlib.sha256(b"archive").hexdigest(), "javascript", "MIT")

    assert fetch(wanted, Path("archives")).read_bytes() == b"archive"


def test_another_archive_than_pinned_is_refused(tmp_path, client):
    with pytest.raises(CorruptData, match="than pinned"):
        fetch(package("it"), tmp_path / "archives")


def test_a_missing_client_is_named(tmp_path, client):
    with pytest.raises(Unavailable, match="cargo"):
        fetch(package("it", registry="crates"), tmp_path / "archives")


@pytest.mark.parametrize(("fails", "pauses", "got"), [(1, [0], True), (2, [0, 0], True), (2, [0], False)])
def test_a_client_that_fails_is_asked_again(tmp_path, client, fails, pauses, got):
    script = client.with_name("npm")
    count = f'echo ran >> "$0.log"; test $(wc -l < "$0.log") -gt {fails} || exit 1'
    script.write_text(f'#!/bin/sh\n{count}\nprintf archive > "$5/it.tgz"\n')
    wanted = Package("npm", "it", "1.0.0", hashlib.sha256(b"archive").hexdigest(), "javascript", "MIT")

    if got:
        assert fetch(wanted, tmp_path / "archives", pauses).read_bytes() == b"archive"
    else:
        with pytest.raises(Unavailable, match=r"npm.*did not get 'it'"):
            fetch(wanted, tmp_path / "archives", pauses)
