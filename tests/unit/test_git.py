"""Claims about git repositories as sources, with real repositories."""

import os
import shutil

import pytest

from services.chunker import git
from services.chunker.git_command import command, environment, run
from services.chunker.objects import ObjectReader
from services.core.errors import CorruptData, InvalidRequest, NotFound, Unavailable
from services.core.model import SkipReason
from tests.repositories import blob, call, commit, contents, tree_commit


@pytest.fixture
def repo(tmp_path):
    return tmp_path / "repo"


def test_a_commit_is_read_from_its_objects_whatever_the_work_tree_holds(repo):
    revision = commit(repo, {"src/a.py": b"one\n", "b.md": b"two\n"})
    (repo / "src/a.py").write_bytes(b"changed, not committed")
    (repo / "b.md").unlink()

    assert contents(repo, revision) == ({"src/a.py": b"one\n", "b.md": b"two\n"}, {})


def test_the_fingerprint_is_the_object_id(repo):
    revision = commit(repo, {"a.py": b"same", "b.py": b"same"})

    with git.GitSource(repo, revision) as source:
        [a, b], _ = source.files()

    assert a.fingerprint == b.fingerprint == f"git:{a.locator}"
    assert (a.path, a.size) == ("a.py", 4)


def test_what_is_left_out_has_a_reason(repo):
    commit(repo, {"a.py": b"x", "logo.png": b"p", "e.py": b"", "big.c": b"x" * 101, "gone.o": b"x"})
    commit(repo, {".quarryignore": b"*.o\nout/\n", "out/a.py": b"x", "sub/.quarryignore": b"!b.o\n", "sub/b.o": b"x"})
    (repo / "link.py").symlink_to("/etc/passwd")
    commit(repo)
    sub = f"160000 commit {'1' * 40}\tsub\rmodule".encode()
    revision = tree_commit(repo, *call(repo, "ls-tree", "-z", "HEAD").encode().split(b"\0")[:-1], sub)

    found, skipped = contents(repo, revision, max_file_bytes=100)

    assert sorted(found) == [".quarryignore", "a.py", "sub/.quarryignore"]
    assert skipped == {
        "logo.png": SkipReason.BINARY,
        "e.py": SkipReason.EMPTY,
        "big.c": SkipReason.TOO_LARGE,
        "gone.o": SkipReason.BINARY,
        "out/a.py": SkipReason.IGNORED,
        "sub/b.o": SkipReason.BINARY,
        "link.py": SkipReason.SYMLINK,
        "sub\rmodule": SkipReason.SUBMODULE,
    }


def test_gitignore_does_not_leave_out_what_was_committed(repo):
    revision = commit(repo, {".gitignore": b"*.py\n", "a.py": b"x", "vendor/b.go": b"x"})

    assert sorted(contents(repo, revision)[0]) == [".gitignore", "a.py", "vendor/b.go"]


def test_hostile_names_are_labels_only_and_stay_apart(repo):
    commit(repo)
    one = blob(repo, b"one")
    hostile = [b"..", b"new\nline", b"tab\t", b"\xff", b"\\xff", b"<img onerror=x>", b"n" * 255, b"aux", b"A", b"a"]
    inner = call(repo, "mktree", "-z", text=b"".join(b"100644 blob " + one + b"\t" + n + b"\0" for n in hostile))
    revision = tree_commit(repo, b"040000 tree " + inner.encode() + b"\t.git", b"100644 blob " + one + b"\thooks")

    found, skipped = contents(repo, revision)

    assert set(found) == {f".git/{n}" for n in ["..", "new\nline", "tab\t", "\\xff", "\\x5cxff", "<img onerror=x>"]} | {
        ".git/" + "n" * 255,
        ".git/aux",
        ".git/A",
        ".git/a",
        "hooks",
    }
    assert skipped == {}
    assert not (repo / ".git" / "aux").exists()


def test_a_name_twice_in_one_tree_is_indexed_once(repo):
    commit(repo)
    one, two = blob(repo, b"one"), blob(repo, b"two")
    raw = b"".join(b"100644 a.py\0" + bytes.fromhex(oid.decode()) for oid in (one, two))
    tree = call(repo, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", text=raw)
    revision = call(repo, "commit-tree", "-m", "x", tree)

    assert contents(repo, revision) == ({"a.py": b"one"}, {"a.py": SkipReason.UNREADABLE})


def object_file(repo, oid):
    return repo / ".git" / "objects" / oid[:2] / oid[2:]


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_a_damaged_object_is_a_reason_and_the_others_are_read(repo, damage):
    files = {f"{n:03}.py": b"content %d\n" % n * 50 for n in range(120)}
    revision = commit(repo, files)
    bad = object_file(repo, call(repo, "rev-parse", "HEAD:060.py"))
    content = bad.read_bytes()
    bad.unlink()
    if damage != "missing":
        bad.write_bytes(content[:30] if damage == "truncated" else content[:12] + bytes(5) + content[17:])

    found, skipped = contents(repo, revision)

    reason = found.pop("060.py", None) or skipped.pop("060.py")
    assert reason is SkipReason.UNREADABLE
    assert found == {path: text for path, text in files.items() if path != "060.py"}
    assert skipped == {}


def test_a_missing_tree_is_corrupt_data(repo):
    revision = commit(repo, {"sub/a.py": b"x"})
    object_file(repo, call(repo, "rev-parse", "HEAD:sub")).unlink()

    with pytest.raises(CorruptData, match=r"can't be listed.*git fsck"):
        contents(repo, revision)


def test_a_broken_pack_spoils_only_what_lies_in_the_break(repo):
    revision = commit(repo, {f"{n}.py": os.urandom(300).hex().encode() for n in range(20)})
    call(repo, "gc", "-q")
    lying = call(repo, "verify-pack", "-v", *map(str, (repo / ".git/objects/pack").glob("*.idx")))
    blobs = sorted(int(line.split()[4]) for line in lying.splitlines() if " blob " in line)
    [pack] = (repo / ".git/objects/pack").glob("*.pack")
    pack.chmod(0o644)
    content = pack.read_bytes()
    pack.write_bytes(content[: blobs[5] + 20] + bytes(40) + content[blobs[5] + 60 :])

    found, skipped = contents(repo, revision)

    assert [*found.values(), *skipped.values()].count(SkipReason.UNREADABLE) == 1
    assert len(found) + len(skipped) == 20


def test_a_reader_that_stops_half_way_does_not_mix_up_the_next(repo):
    revision = commit(repo, {f"{n:03}.py": b"%d" % n for n in range(200)})
    with git.GitSource(repo, revision) as source:
        refs, _ = source.files()
        reading = source.read(refs)
        next(reading)
        reading.close()

        assert list(source.read(refs[100:])) == [b"%d" % n for n in range(100, 200)]


def test_a_killed_reader_process_is_started_again(repo):
    revision = commit(repo, {f"{n:03}.py": b"%d" % n for n in range(200)})
    with git.GitSource(repo, revision) as source:
        refs, _ = source.files()
        reading = source.read(refs)
        first = next(reading)
        source._objects._child.kill()

        assert [first, *reading] == [b"%d" % n for n in range(200)]


def test_objects_over_the_limit_are_thrown_away_and_the_next_one_is_right(repo):
    commit(repo)
    big, small = blob(repo, b"x" * 3_000_000).decode(), blob(repo, b"small").decode()
    reader = ObjectReader(command(repo / ".git", "cat-file", "--batch"), environment())

    found = list(reader.read([big, small, big], 100))
    reader.close()

    assert [getattr(got, "reason", got) for got in found] == [SkipReason.TOO_LARGE, b"small", SkipReason.TOO_LARGE]


@pytest.mark.parametrize(
    ("ref", "expected"),
    [("", "second"), ("main", "second"), ("HEAD~1", "first"), ("v1", "first"), ("refs/tags/light", "first")],
)
def test_refs_resolve_to_full_commit_ids(repo, ref, expected):
    commits = {"first": commit(repo, {"a": b"1"})}
    call(repo, "tag", "-a", "v1", "-m", "v1")
    call(repo, "tag", "light")
    commits["second"] = commit(repo, {"a": b"2"})

    assert git.resolve(repo, ref) == commits[expected]
    assert git.resolve(repo, commits["first"]) == commits["first"]
    assert git.resolve(repo, commits["first"][:10]) == commits["first"]


@pytest.mark.parametrize("ref", ["nope", "refs/heads/../../x", "a b", "😀", "$(touch x)", "0" * 40, "main:nope"])
def test_an_unknown_ref_is_named(repo, ref):
    commit(repo, {"a": b"1"})

    with pytest.raises((NotFound, CorruptData), match="".join(f"[{c}]" if c != "\\" else "." for c in ref)):
        git.resolve(repo, ref)


@pytest.mark.parametrize("ref", ["--upload-pack=x", "-h", "a\nb", "a\0b"])
def test_a_ref_that_could_be_an_option_is_refused(repo, ref):
    commit(repo, {"a": b"1"})

    with pytest.raises(InvalidRequest, match="is not a branch, tag or commit"):
        git.resolve(repo, ref)


def test_a_tag_of_a_file_is_no_commit(repo):
    commit(repo, {"a": b"1"})
    call(repo, "tag", "file", "HEAD:a")

    with pytest.raises(InvalidRequest, match="is a blob, not a commit"):
        git.resolve(repo, "file")


def test_a_repository_without_commits_says_so(repo):
    repo.mkdir()
    call(repo, "init", "-q")

    with pytest.raises(InvalidRequest, match="has no commits yet"):
        git.resolve(repo)


def test_a_head_without_commits_names_a_branch_that_has_some(repo):
    commit(repo, {"a": b"1"})
    call(repo, "symbolic-ref", "HEAD", "refs/heads/unborn")

    with pytest.raises(InvalidRequest, match="--ref main"):
        git.resolve(repo)


def test_a_missing_commit_is_corrupt_data(repo):
    revision = commit(repo, {"a": b"1"})
    object_file(repo, revision).unlink()

    with pytest.raises(CorruptData, match="git fsck"):
        git.resolve(repo, "main")


def test_a_folder_that_is_no_repository_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="is not a git repository"):
        git.resolve(tmp_path)


def test_only_the_top_of_a_work_tree_or_a_bare_repository_is_a_repository(repo, tmp_path):
    commit(repo, {"sub/a": b"1"})
    call(repo, "clone", "-q", "--bare", str(repo), str(tmp_path / "bare"))
    call(repo, "worktree", "add", "-q", str(tmp_path / "worktree"))
    (tmp_path / "empty/.git").mkdir(parents=True)

    found = [path for path in (repo, tmp_path / "bare", tmp_path / "worktree") if git.is_repository(path)]

    assert found == [repo, tmp_path / "bare", tmp_path / "worktree"]
    assert not any(map(git.is_repository, (repo / "sub", tmp_path, tmp_path / "empty", repo / "missing")))


def test_bare_repositories_and_work_trees_are_read_alike(repo, tmp_path):
    revision = commit(repo, {"sub/a": b"1"})
    call(repo, "clone", "-q", "--bare", str(repo), str(tmp_path / "bare"))
    call(repo, "worktree", "add", "-q", str(tmp_path / "worktree"))

    for place in (tmp_path / "bare", tmp_path / "worktree"):
        assert git.resolve(place) == revision
        assert contents(place, revision) == ({"sub/a": b"1"}, {})


def test_sha256_repositories_are_read(repo):
    revision = commit(repo, {"a": b"1"}, "--object-format=sha256")

    assert len(git.resolve(repo)) == 64
    assert contents(repo, revision) == ({"a": b"1"}, {})


def test_a_repository_of_another_owner_is_read(repo):
    revision = commit(repo, {"a": b"1"})
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    for path in (repo, repo / ".git"):
        os.chown(path, 12345, 12345)

    assert git.resolve(repo) == revision
    assert contents(repo, revision) == ({"a": b"1"}, {})


def test_configuration_of_the_repository_runs_nothing(repo, tmp_path):
    revision = commit(
        repo, {"a.py": b"$Id$\n", ".gitattributes": b"* filter=evil ident\n*.u working-tree-encoding=UTF-16\n"}
    )
    trap = tmp_path / "sprung"
    for key in ("core.fsmonitor", "core.sshCommand", "filter.evil.smudge", "core.pager", "core.askPass"):
        call(repo, "config", key, f"touch {trap}")
    hook = repo / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
    hook.chmod(0o755)

    found, _ = contents(repo, git.resolve(repo, revision))

    assert found["a.py"] == b"$Id$\n"
    assert not trap.exists()


def test_a_replaced_object_is_read_as_it_was_committed(repo):
    revision = commit(repo, {"a": b"1"})
    call(repo, "replace", call(repo, "rev-parse", "HEAD:a"), blob(repo, b"2").decode())

    assert contents(repo, revision)[0] == {"a": b"1"}


def test_git_sees_nothing_of_the_callers_environment(monkeypatch, repo):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")

    assert not {"GIT_DIR", "AWS_SECRET_ACCESS_KEY"} & set(environment())
    revision = commit(repo, {"a": b"1"})
    assert git.resolve(repo) == revision


def test_without_git_the_message_says_to_install_it(monkeypatch, repo):
    commit(repo, {"a": b"1"})
    monkeypatch.setenv("PATH", str(repo))

    with pytest.raises(Unavailable, match="install git"):
        git.resolve(repo)
    with pytest.raises(Unavailable, match="install git"):
        list(git.GitSource(repo, "1" * 40)._objects.read(["1" * 40], 1))


def test_a_command_that_hangs_ends_with_all_it_started():
    with pytest.raises(Unavailable, match=r"did not finish in 0.2 s"):
        run([shutil.which("sh"), "-c", "sleep 60 & sleep 60"], timeout_s=0.2)
