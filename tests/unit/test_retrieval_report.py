"""Search quality: stored results, the guard against a fall, the report."""

from argparse import Namespace
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks.retrieval import __main__ as command
from benchmarks.retrieval import guard, report
from benchmarks.retrieval.charts import Bar, Group, bar_chart
from benchmarks.retrieval.figures import figures
from benchmarks.retrieval.rows import packed, rows_of
from benchmarks.speed.records import Record


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
