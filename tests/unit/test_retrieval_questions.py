"""Search quality: the questions drawn from comments, labels and commits, and the trees they are asked of."""

import json
import subprocess

import pytest

from benchmarks.retrieval import doccomments, history, labelled, packages
from benchmarks.retrieval.documented import functions, lines_after, without
from benchmarks.retrieval.labelled import NotThere
from benchmarks.retrieval.packages import Package, sources
from benchmarks.retrieval.pools import Question, Suite, Target, Tree
from benchmarks.retrieval.registries import archive
from benchmarks.retrieval.sentences import question

_GIT = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]


_SOURCES = {
    "python": ('def load(a):\n    """Read all of it."""\n    return a\n', "load", (1, 2)),
    "go": ("package a\n\n// Load reads all\n// of it.\nfunc Load() int {\n\treturn 1\n}\n", "Load", (3, 5)),
    "rust": ("/// Reads all of it.\n#[inline]\nfn load() -> i32 {\n    1\n}\n", "load", (2, 4)),
    "java": ("class A {\n  /** Reads all of it. */\n  @B\n  int load() {\n    return 1;\n  }\n}\n", "load", (2, 5)),
    "kotlin": ("class A {\n  /** Reads all of it. */\n  fun load(): Int = 1\n}\n", "load", (2, 2)),
    "scala": ("object A {\n  /** Reads all of it. */\n  def load: Int = {\n    1\n  }\n}\n", "load", (2, 4)),
    "javascript": ("/**\n * Reads all of it.\n */\nA.load = function () {\n  return 1;\n};\n", "load", (1, 3)),
    "typescript": ("/** Reads all of it. */\nexport const load = () => {\n  return 1\n}\n", "load", (1, 3)),
}


@pytest.mark.parametrize("language", sorted(_SOURCES))
def test_a_documented_function_is_found_and_its_comment_removed(language):
    text, name, lines = _SOURCES[language]
    source = text.encode()

    [function] = functions(source, language)
    rest = without(source, [function.comment])

    assert function.name == name
    assert "all" in function.text
    assert b"eads all" not in rest
    assert b"Read all" not in rest
    assert b"of it" not in rest
    assert lines_after(source, function, [function.comment]) == (lines[0], lines[0] + lines[1] - lines[0])


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("go", "package a\n\n// Load reads it.\n\nfunc Load() int { return 1 }\n"),
        ("java", "interface A {\n  /** Reads it. */\n  int load();\n}\n"),
        ("java", "class A {\n  /* Reads it. */\n  int load() { return 1; }\n}\n"),
        ("typescript", "/** Reads it. */\nexport interface A { a: number }\n"),
        ("python", 'def load():\n    """Read it."""\n'),
    ],
)
def test_what_is_no_documented_function_with_a_body_is_left_out(language, text):
    assert functions(text.encode(), language) == []


@pytest.mark.parametrize(
    ("comment", "name", "expected"),
    [
        ("Read the whole file into memory. Fails if it is gone.", "slurp", "Read the whole file into memory"),
        (
            "/**\n * Reads a {@code File} into\n * <b>memory</b>.\n * @param f it\n */",
            "slurp",
            "Reads a File into memory",
        ),
        ("// Slurp reads the file into memory.", "Slurp", "reads the file into memory"),
        ("Read :class:`~a.File` objects, e.g. from disk.\n\n:param a: b", "slurp", "Read File objects, e.g. from disk"),
        ("/// Reads [`File`](a::File) objects from disk.\n/// # Panics\n", "slurp", "Reads File objects from disk"),
        ("Load the file.", "load_file", ""),
        ("@param name the name of a certain thing", "slurp", ""),
        ("Deprecated use something much better than this thing", "slurp", ""),
        ("Returns it to the one", "slurp", ""),
    ],
)
def test_the_question_is_the_first_sentence_if_it_says_something(comment, name, expected):
    assert question(comment, name, drop_name=True) == expected


_FUNCTION = """\
def first(names):
    '''SENTENCE'''
    names = list(names)
    return [each for each in names if each.strip() and each.islower() and each.isascii()]
"""
_FILES = {
    "a.py": _FUNCTION.replace("SENTENCE", "Keep only the tidy entries of a listing.").encode(),
    "tests/test_a.py": _FUNCTION.replace("SENTENCE", "Check that tidy entries of a listing stay.").encode(),
    "README.md": b"# It\n",
}
_PACKAGE = Package("pypi", "it", "1.0", "0" * 64, "python", "someone/it", "MIT")


def test_questions_are_drawn_from_sources_but_not_from_tests():
    drawn = doccomments.draw(_PACKAGE, _FILES)

    assert {path: [text for _, text in found] for path, found in drawn.items()} == {
        "a.py": ["Keep only the tidy entries of a listing"]
    }


def test_a_sentence_that_two_functions_share_is_no_question():
    files = {"a.py": _FILES["a.py"], "b.py": _FILES["a.py"].replace(b"first", b"other")}

    assert doccomments.draw(_PACKAGE, files) == {}


def test_the_listed_packages_are_pinned_and_enough():
    listed = packages.listed()

    assert len(listed) >= 30
    assert len({package.language for package in listed}) >= 6
    assert len({package.short_name for package in listed}) == len(listed)
    assert all(len(package.sha256) == 64 for package in listed)


def _jar(folder, files: dict[str, bytes]) -> tuple[str, bytes]:
    import hashlib
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as jar:
        for path, data in files.items():
            jar.writestr(path, data)
    data = packed.getvalue()
    path = folder / "org/it/it/1.0/it-1.0-sources.jar"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest(), data


def test_a_package_is_fetched_once_and_only_its_sources_count(tmp_path, monkeypatch):
    files = {"a/A.java": b"class A {}", "a/A.txt": b"", "README.md": b"", "../B.java": b""}
    digest, _ = _jar(tmp_path / "maven", files)
    monkeypatch.setenv("MAVEN_URL", (tmp_path / "maven").as_uri())
    package = Package("maven", "org.it:it", "1.0", digest, "java", "someone/it", "MIT")

    first = sources(package, tmp_path / "kept")
    monkeypatch.setenv("MAVEN_URL", (tmp_path / "gone").as_uri())

    assert first == {"a/A.java": b"class A {}", "README.md": b""}
    assert sources(package, tmp_path / "kept") == first


def test_an_archive_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    _jar(tmp_path / "maven", {"A.java": b""})
    monkeypatch.setenv("MAVEN_URL", (tmp_path / "maven").as_uri())

    with pytest.raises(NotThere, match="is pinned"):
        archive("maven", "org.it:it", "1.0", "0" * 64, tmp_path / "kept")


def test_labels_are_read_for_the_trees_that_are_there(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "trees" / "one" / "src").mkdir(parents=True)
    spec = {"language": "go", "revision": "1", "benchmark_root": "src"}
    (tmp_path / "repos.json").write_text(json.dumps([{"name": name, **spec} for name in ("one", "two")]))
    tasks = [{"query": "q", "relevant": ["a.go", {"path": "b.go", "start_line": 2, "end_line": 3}], "category": "c"}]
    for name in ("one", "two"):
        (tmp_path / "labels" / f"{name}.json").write_text(json.dumps(tasks))

    suite = labelled.load(str(tmp_path), str(tmp_path / "trees"))

    assert [(tree.name, tree.path.name) for tree in suite.trees] == [("one", "src")]
    assert suite.questions == (Question("one", "q", (Target("a.go"), Target("b.go", 2, 3)), "c"),)


@pytest.mark.parametrize("load", [lambda: labelled.load("", ""), lambda: history.build("", None)])
def test_a_part_whose_material_is_not_there_says_how_to_get_it(load):
    with pytest.raises(NotThere, match="skipped: give"):
        load()


def _commit(repository, subject: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (repository / name).write_text(text)
    subprocess.run([*_GIT, "add", "."], cwd=repository, check=True)
    subprocess.run([*_GIT, "commit", "-q", "-m", subject], cwd=repository, check=True)


def test_commit_subjects_ask_for_the_files_they_changed_in_the_tree_before(tmp_path):
    repository = tmp_path / "it"
    repository.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    _commit(repository, "first version of everything there", {"a.py": "1", "b.py": "1", "c.md": "1"})
    _commit(repository, "close the socket when the peer is gone (#12)", {"a.py": "2", "new.py": "1", "c.md": "2"})
    _commit(repository, "bump version of the whole thing", {"a.py": "3"})
    _commit(repository, "explain how sockets are closed", {"c.md": "3"})
    _commit(repository, "wait for the server to become ready", {"b.py": "2", "new.py": "2"})

    suite = history.build(str(repository), tmp_path / "trees")

    assert [(asked.text, [target.path for target in asked.targets]) for asked in suite.questions] == [
        ("wait for the server to become ready", ["b.py"]),
        ("close the socket when the peer is gone", ["a.py"]),
    ]
    assert (suite.trees[0].path / "a.py").read_text() == "1"
    assert not (suite.trees[0].path / "new.py").exists()


def test_pools_are_each_tree_alone_and_those_of_a_language_together(tmp_path):
    trees = tuple(Tree(name, tmp_path, language) for name, language in (("a", "go"), ("b", "go"), ("c", "rust")))
    suite = Suite("it", trees, tuple(Question(tree.name, "q", ()) for tree in trees))

    by_language = [(pool.setup, [tree.name for tree in pool.trees]) for pool in suite.pools(by_language=True)]

    assert by_language == [("single", ["a"]), ("single", ["b"]), ("single", ["c"]), ("pooled", ["a", "b"])]
    assert [len(pool.questions) for pool in suite.pools(by_language=False)] == [1, 1, 1, 3]
