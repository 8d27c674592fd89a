"""Claims about .gitignore and .quarryignore; git itself is the judge of the first."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chunker.ignore import TreeRules, nested

PATHS = ["a.c", "a.o", "x/a.c", "x/a.o", "x/y/a.c", "build/a.c", "x/build/a.c", "keep.o", "x/keep.o", "-a b.c", "é.c"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", root], check=True, capture_output=True)
    for path in PATHS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def not_ignored_by_git(root, texts):
    for prefix, text in texts.items():
        (root / prefix / ".gitignore").write_text(text)
    argv = ["git", "-C", root, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"]
    listed = subprocess.run(argv, check=True, capture_output=True).stdout.decode().split("\0")
    for prefix in texts:
        (root / prefix / ".gitignore").unlink()
    return sorted(set(listed) & set(PATHS))


@pytest.mark.parametrize(
    "texts",
    [
        {"": "*.o\n"},
        {"": "*.o\n!keep.o\n"},
        {"": "*.o\n", "x/": "!keep.o\n"},
        {"": "*.o\r\nbuild/\r\n"},
        {"": "/build\n"},
        {"": "x/*\n!x/y/\n"},
        {"": "x/\n", "x/": "!*\n"},
        {"": "/*\n!/x/\n"},
        {"": "*\n!*/\n!*.c\n"},
        {"": "**/y/**\n"},
        {"": "[a-b].c\n# a comment\n\n\\#x\n"},
        {"": "x/**/a.c\n"},
        {"": "\ufeffbuild\n"},
        {"": "-a b.c\n\u00e9.c\n"},
        {"": "[z-a]\n[\nbuild\n"},
        {"": "a.c/\n"},
        {"": "", "x/": "/a.c\n"},
    ],
)
def test_rules_leave_out_what_git_leaves_out(tree, texts):
    rules = TreeRules(texts)

    assert sorted(p for p in PATHS if not rules.ignores(p)) == not_ignored_by_git(tree, texts)


def test_no_rules_ask_nothing():
    assert nested(None, "", "# only a comment\n\n") is None
    assert not TreeRules({}).ignores("a/b")


def test_more_patterns_than_fit_one_set_all_count():
    text = "".join(f"dir{i}/*name{i}*.c\n" for i in range(3000))

    rules = nested(None, "", text)

    assert rules.ignores("dir0/aname0.c")
    assert rules.ignores("dir2999/xname2999x.c")
    assert not rules.ignores("dir1/name2.c")


def test_a_hostile_pattern_costs_no_more_than_others():
    rules = nested(None, "", "*a" * 2000 + "b\n" + "*.o\n")

    assert rules.ignores("a" * 5000 + ".o")


def test_a_pattern_too_large_to_compile_leaves_the_others_working():
    assert nested(None, "", "a" * 100_000 + "\n[[:alpha:]]\n*.o\n").ignores("x.o")


def test_a_tree_deeper_than_the_stack_is_judged():
    assert TreeRules({"": "*.o\n"}).ignores("d/" * 3000 + "a.o")


@settings(deadline=None)
@given(
    st.text(),
    st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), min_size=1),
)
def test_any_text_is_a_valid_ignore_file(text, parts):
    text = text.encode("utf-8", "replace").decode()

    assert TreeRules({"": text}).ignores("/".join(parts)) in (True, False)
