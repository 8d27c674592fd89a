"""Search quality: scores, baselines, the questions drawn from comments and commits, the guard, the report."""

import json
import math
import subprocess
from argparse import Namespace
from dataclasses import replace
from uuid import UUID
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.retrieval import __main__ as command
from benchmarks.retrieval import doccomments, guard, history, labelled, packages, report
from benchmarks.retrieval.bootstrap import interval
from benchmarks.retrieval.charts import Bar, Group, bar_chart
from benchmarks.retrieval.documented import functions, lines_after, without
from benchmarks.retrieval.figures import figures
from benchmarks.retrieval.labelled import NotThere
from benchmarks.retrieval.lexical import Postings, terms_of
from benchmarks.retrieval.packages import Package, sources
from benchmarks.retrieval.pools import Chunk, Hit, Question, Suite, Target, Tree
from benchmarks.retrieval.quarry import PARTS, RULES_OFF, WHOLE, Remembering
from benchmarks.retrieval.registries import archive
from benchmarks.retrieval.rows import packed, rows_of
from benchmarks.retrieval.scoring import by_file, scores
from benchmarks.retrieval.sentences import question
from benchmarks.speed.records import Record
from services.api.weights import DEFAULT, RULES
from services.core.ports import Candidates, Filter

_ONE = UUID(int=1)
_GIT = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]


def _hits(*paths: str) -> list[Hit]:
    return [Hit("r", path, 1, 10) for path in paths]


def _question(*targets: Target) -> Question:
    return Question("r", "where is it", targets)


@pytest.mark.parametrize(
    ("paths", "targets", "expected"),
    [
        (["a.py"], ["a.py"], 1.0),
        (["b.py", "a.py"], ["a.py"], 1 / math.log2(3)),
        (["b.py", "src/a.py"], ["a.py"], 1 / math.log2(3)),
        (["a.py"], ["lib/a.py"], 1.0),
        (["xa.py"], ["a.py"], 0.0),
        (["a.py", "b.py"], ["a.py", "b.py"], 1.0),
        (["a.py", "c.py", "b.py"], ["a.py", "b.py"], (1 + 1 / 2) / (1 + 1 / math.log2(3))),
        (["b.py"] * 10 + ["a.py"], ["a.py"], 0.0),
        ([], ["a.py"], 0.0),
    ],
)
def test_ndcg_of_known_answers(paths, targets, expected):
    found = scores(_hits(*paths), _question(*map(Target, targets)))

    assert found["ndcg"] == pytest.approx(expected)


def test_targets_that_one_hit_covers_count_once_for_ndcg():
    targets = (Target("a.py", 1, 4), Target("a.py", 6, 9))

    found = scores(_hits("a.py"), _question(*targets))

    assert found["ndcg"] == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert found["recall"] == 1.0


@pytest.mark.parametrize(("lines", "expected"), [((10, 20), 1.0), ((11, 20), 0.0), ((1, 1), 1.0)])
def test_a_hit_answers_if_it_shows_one_of_the_lines(lines, expected):
    assert scores(_hits("a.py"), _question(Target("a.py", *lines)))["mrr"] == expected


def test_a_hit_in_another_repository_is_no_answer():
    assert scores([Hit("other", "a.py", 1, 10)], _question(Target("a.py")))["recall"] == 0.0


def test_files_are_ranked_by_their_first_hit():
    hits = _hits("a.py", "b.py", "a.py", "c.py")

    assert [hit.path for hit in by_file(hits)] == ["a.py", "b.py", "c.py"]
    assert scores(hits, _question(Target("c.py")))["ndcg_file"] == pytest.approx(0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_holds_the_mean_and_lies_within_the_values(values):
    low, high = interval(values)

    assert min(values) - 1e-9 <= low <= sum(values) / len(values) + 1e-9
    assert sum(values) / len(values) - 1e-9 <= high <= max(values) + 1e-9


def _chunks(*texts: str) -> list[Chunk]:
    return [Chunk(Hit("r", f"{number}.py", 1, 5), text) for number, text in enumerate(texts)]


def test_a_term_match_counts_distinct_words_first_then_occurrences():
    postings = Postings(_chunks("open open open", "open theSocket", "open open", "nothing"))

    assert [hit.path for hit in postings.terms(Question("r", "open a socket", ()))] == ["1.py", "0.py", "2.py"]


def test_bm25_prefers_rare_words_and_short_chunks():
    postings = Postings(_chunks("open it", "open it " + "x " * 50, "socket it", "open open it"))

    assert postings.bm25(Question("r", "the open socket", ()))[0].path == "2.py"
    assert [hit.path for hit in postings.bm25(Question("r", "open", ()))] == ["3.py", "0.py", "1.py"]


def test_a_query_of_stop_words_is_asked_as_it_is():
    assert terms_of("what is it") == ["what", "is", "it"]


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


def test_every_rule_can_be_left_out_alone_and_all_together():
    assert {variant.name.removeprefix("without ") for variant in RULES_OFF} == set(RULES)
    assert all(variant.weights() != DEFAULT for variant in RULES_OFF)
    assert WHOLE.weights() == DEFAULT
    no_rules = PARTS[-1].weights()
    assert (no_rules.dense, no_rules.sparse, no_rules.path, no_rules.definitions) == (
        DEFAULT.dense,
        DEFAULT.sparse,
        0,
        0,
    )


def _row(repo: str, value: float, system: str = "quarry", setup: str = "single") -> dict:
    scored = dict.fromkeys(("ndcg", "ndcg_file", "mrr", "recall"), value)
    about = {"system": system, "setup": setup, "repo": repo, "language": "go", "questions": 2}
    return {**about, "categories": {"symbol": [value, 2]}, **scored}


def _record(rows: list[dict], scenario: str = "labelled") -> Record:
    return Record(
        scenario=scenario,
        figures=figures(rows),
        runs=packed(rows),
        corpus={"model": {"model": "static/abc"}},
        machine={"cpu": "Some CPU", "cores": 2},
        source={"commit": "0123456789abcdef", "dirty": False},
        taken_at="2026-01-02T03:04:05Z",
    )


def test_rows_are_stored_and_read_back():
    rows = [_row("a", 0.5), _row("b", 0.25, setup="pooled"), _row("a", 0.4, "semble 0.7")]
    ablation = _row("a", 0.4, "without path")

    read = rows_of(_record([*rows, ablation]))

    assert sorted(read[:3], key=str) == sorted(rows, key=str)
    assert read[3] == ablation | {"categories": {}}


def test_figures_are_means_over_repositories_and_over_questions_of_a_category():
    rows = [_row("a", 1.0), {**_row("b", 0.5), "categories": {"symbol": [0.5, 6]}}]

    found = figures(rows)["single"]["quarry"]

    assert found["ndcg"]["mean"] == 0.75
    assert found["categories"] == {"symbol": 0.625}
    assert found["languages"]["go"]["mrr"] == 0.75


_REPOS = [f"r{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("changes", "falls"),
    [
        ([0.0] * 20, False),
        ([-0.003] * 20, False),
        ([-0.006] * 20, True),
        ([0.01] * 20, False),
        ([-0.2, 0.1] * 10, True),
        ([0.1] * 9 + [-0.09] * 11, False),
        ([-0.3, 0.2, *[0.0] * 18], False),
    ],
)
def test_the_guard_tells_a_fall_from_noise(changes, falls):
    before = _record([_row(repo, 0.8) for repo in _REPOS])
    now = _record([_row(repo, 0.8 + change) for repo, change in zip(_REPOS, changes, strict=True)])

    assert bool(guard.falls(before, now)) is falls


def test_the_guard_says_where_it_fell_and_since_when():
    before = _record([_row("a", 0.9), _row("b", 0.8)])
    now = _record([_row("a", 0.5), _row("b", 0.8)])

    [line] = guard.falls(before, now)

    assert "labelled, single: ndcg fell by 0.2000, from 0.8500 to 0.6500" in line
    assert "0123456789 of 2026-01-02; most in a -0.400" in line


def test_without_an_earlier_result_nothing_falls():
    assert guard.falls(None, _record([_row("a", 0.1)])) == []


def _measured() -> dict[str, Record]:
    systems = ("quarry", "semble 0.7", "BM25", "term match", "without path")
    rows = [_row(repo, 0.9 - 0.1 * n, system) for n, system in enumerate(systems) for repo in ("a", "b")]
    ranking = {"chunks": 100_000, "queries": 5, "ranking_ms": {"p50": 1, "p95": 12.5, "p99": 3}}
    ranking["search_ms"] = ranking["ranking_ms"]
    records = {name: _record(rows, name) for name in ("labelled", "doc-comments")}
    return {**records, "ranking": replace(_record([], "ranking"), figures=ranking, runs=[])}


def test_the_readme_table_names_limits_misses_and_the_peer():
    text = report.summary(_measured())

    assert (
        "| labelled questions, single: NDCG@10 by chunk | ≥ 0.88 | ≥ 0.92 | 0.900 (0.900 to 0.900) | 0.800 | 0.700 |"
        in text
    )
    assert "single: MRR over semble's in the worst language, go | > 1 × | ≥ 1.15 × | 1.12 × | | |" in text
    assert "| ranking, 100,000 chunks, P95 | ≤ 10 ms | ≤ 3 ms | 12.5 ms (missed) | | |" in text
    assert "commit 0123456789, 2026-01-02, model static/abc, Some CPU, 2 cores" in text


def test_the_page_has_every_system_language_and_rule(tmp_path):
    (tmp_path / report.PAGE).write_text(f"Method.\n{report.START}\n{report.END}\n")

    report.write_docs(tmp_path, _measured())
    text = (tmp_path / report.PAGE).read_text()

    assert "| single: semble 0.7 | 0.800 (0.800 to 0.800) |" in text
    assert "| path | +0.4000 (+0.4000 to +0.4000) |" in text
    assert {path.name for path in tmp_path.glob("*.svg")} == {
        *("quality-labelled.svg", "quality-doc-comments.svg", "quality-rules.svg", "quality-languages.svg")
    }
    assert all(f"({path.name})" in text for path in tmp_path.glob("*.svg"))


def test_without_results_the_table_says_how_to_get_them():
    assert report.summary({}) == "No results are stored yet: `make bench-quality`."


def test_a_chart_is_well_formed_and_draws_negative_values_to_the_left_of_zero():
    chart = bar_chart("a < b", [Group("x & y", (Bar("one", 0.5, 0.4, 0.6), Bar("two", -0.5, -0.5, -0.5)))])

    root = ElementTree.fromstring(chart)
    bars = [each for each in root.iter() if each.tag.endswith("rect") and each.get("height") == "14"]

    assert float(bars[1].get("x")) < float(bars[0].get("x"))
    assert "x & y" in "".join(root.itertext())


def _options(tmp_path, *, accept: bool) -> Namespace:
    return Namespace(folder=tmp_path / "bench", results=tmp_path / "results", accept=accept)


@pytest.mark.parametrize(("value", "accept", "failed", "stored"), [(0.8, 0, 0, 1), (0.5, 0, 1, 0), (0.5, 1, 0, 1)])
def test_a_fallen_result_fails_the_run_and_is_no_result_unless_accepted(
    tmp_path, capsys, value, accept, failed, stored
):
    before = {"labelled": _record([_row(repo, 0.8) for repo in _REPOS])}
    now = _record([_row(repo, value) for repo in _REPOS])

    assert command._keep(now, before, _options(tmp_path, accept=bool(accept))) is bool(failed)
    assert len(list((tmp_path / "results").glob("*.json"))) == stored
    assert ("ndcg fell by" in capsys.readouterr().err) is (value < 0.8)


class _Store:
    """A vector store that counts what it is asked."""

    def __init__(self):
        self.asked = []

    def query(self, dense, sparse, where, limit):
        self.asked.append(limit)
        return Candidates(dense=[(UUID(int=limit), 1.0)])

    def payloads(self, ids):
        self.asked += ids
        return {point: {"path": str(point)} for point in ids}

    def count(self, where):
        return 7


def test_what_was_asked_before_is_answered_from_memory():
    store = _Store()
    memory = Remembering(store)
    dense, sparse = np.ones(3, dtype=np.float32), (np.ones(1, dtype=np.uint32), np.ones(1, dtype=np.float32))

    first = [memory.query(dense, sparse, Filter(), 5), memory.query(dense, None, Filter(), 6), memory.payloads([_ONE])]
    again = [memory.query(dense, sparse, Filter(), 5), memory.query(dense, None, Filter(), 6), memory.payloads([_ONE])]

    assert first == again
    assert store.asked == [5, 6, _ONE]
    assert memory.query(dense, sparse, Filter(repos=("r",)), 5) == first[0]
    assert store.asked == [5, 6, _ONE, 5]
