"""The benchmarks' own parts: accounting of a process tree, figures, records, the rendered table."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.speed.floor import parse_all
from benchmarks.speed.latency import ask_all
from benchmarks.speed.machine import describe_machine
from benchmarks.speed.measure import MeasurementError, measure
from benchmarks.speed.queries import Query, draw
from benchmarks.speed.records import Record, median, newest, percentile, store
from benchmarks.speed.report import END, LINES, START, fill, render
from loadtest.corpus import write

# A child that works and is waited for, and a grandchild that outlives its parent: both must be counted.
_BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"
_TREE = """
import os, subprocess, sys
burn = {burn!r}
subprocess.run([sys.executable, "-c", burn], check=True)
if os.fork() == 0:
    subprocess.Popen([sys.executable, "-c", burn])
    os._exit(0)
os.wait()
print("done")
"""


def _record(**changes) -> Record:
    record = Record(
        scenario="stdlib",
        figures={"cpu_over_floor": 4.25, "speed_over_semble": 2.5, "speed_over_semble_one_process": 3.5},
        runs=[],
        corpus={},
        machine={"cpu": "Some CPU", "cores": 2, "memory_gb": 8.0, "kernel": "6.1", "python": "3.11.2"},
        source={"commit": "0123456789abcdef", "dirty": False},
        taken_at="2026-01-02T03:04:05Z",
    )
    return replace(record, **changes)


def test_cpu_time_of_children_and_orphans_is_counted():
    usage = measure([sys.executable, "-c", _TREE.format(burn=_BURN.format(seconds=0.4))], limit_s=60)

    assert usage.stdout == "done\n"
    assert 0.8 <= usage.cpu_s < 4


def test_peak_memory_is_summed_over_the_tree():
    hold = "import sys, time; block = b'x' * 40_000_000; {then}"
    child = hold.format(then="time.sleep(0.6)")
    parent = hold.format(then=f"import subprocess; subprocess.run([sys.executable, '-c', {child!r}], check=True)")

    usage = measure([sys.executable, "-c", parent], limit_s=60)

    assert usage.peak_pss_mb > 80
    assert usage.peak_rss_mb >= usage.peak_pss_mb
    assert usage.peak_processes == 2


def test_a_failing_command_is_an_error_with_its_last_words():
    with pytest.raises(MeasurementError, match=r"status 3.*no such thing"):
        measure([sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"])


def test_a_command_that_hangs_is_killed_with_its_children():
    hang = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"

    with pytest.raises(MeasurementError, match="longer than 1 s"):
        measure([sys.executable, "-c", hang], limit_s=1)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([7], 50, 7), ([7], 99, 7), ([3, 1, 2], 50, 2), (list(range(1, 101)), 95, 95), (list(range(1, 201)), 99, 198)],
)
def test_percentile_is_the_nearest_rank(values, percent, expected):
    assert percentile(values, percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_enough_values_do_not_exceed(values, percent):
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100


@pytest.mark.parametrize(("values", "expected"), [([5], 5), ([1, 9], 5), ([9, 1, 4], 4)])
def test_median_is_the_middle(values, expected):
    assert median(values) == expected


def test_machine_is_described_without_its_name():
    machine = describe_machine()

    assert set(machine) == {"cpu", "cores", "memory_gb", "kernel", "python"}
    assert machine["cores"] >= 1


def test_the_newest_record_of_a_scenario_is_found(tmp_path: Path):
    store(_record(), tmp_path)
    later = _record(taken_at="2026-01-03T00:00:00Z")
    store(later, tmp_path)
    store(_record(scenario="linux"), tmp_path)

    found = newest(tmp_path)

    assert set(found) == {"stdlib", "linux"}
    assert found["stdlib"] == later


def test_table_names_a_missed_target_and_the_machine():
    table = render({"stdlib": _record()})

    assert "| 4.25 × |" in table
    assert "| 2.5 × (missed) |" in table
    assert "Some CPU, 2 cores" in table
    assert "0123456789" in table
    assert "with changes" not in table


def test_table_says_when_the_tree_had_changes():
    table = render({"stdlib": _record(source={"commit": "0123456789abcdef", "dirty": True})})

    assert "0123456789 with changes" in table


def test_table_without_results_makes_no_claim():
    assert "×" not in render({})


def test_every_line_of_the_table_has_an_aim_at_least_as_strict_as_its_limit():
    assert [line for line in LINES if (line.aim < line.must) is line.more_is_better and line.aim != line.must] == []


def test_filling_a_document_replaces_only_what_is_between_the_marks(tmp_path: Path):
    document = tmp_path / "README.md"
    document.write_text(f"before\n{START}\nold\n{END}\nafter\n")

    fill(document, "new")
    fill(document, "newer")

    assert document.read_text() == f"before\n{START}\nnewer\n{END}\nafter\n"


def test_a_document_without_marks_is_refused(tmp_path: Path):
    document = tmp_path / "README.md"
    document.write_text("nothing here\n")

    with pytest.raises(ValueError, match="has no"):
        fill(document, "new")


def test_queries_are_varied_filtered_half_the_time_and_the_same_for_a_seed(tmp_path: Path):
    write(tmp_path, 300, 1, 865)

    queries = draw(tmp_path, "corpus", 240, 1)

    assert queries == draw(tmp_path, "corpus", 240, 1)
    assert len({query.text for query in queries}) > 200
    assert sum(bool(query.filters) for query in queries) == 120
    assert {key for query in queries for key in query.filters} == {"repo", "lang", "path"}


def test_the_floor_reads_and_parses_every_file(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.go").write_text("package b\n")

    assert parse_all([(str(tmp_path / "a.py"), "python"), (str(tmp_path / "b.go"), "go")]) == 16


class _Answers(BaseHTTPRequestHandler):
    """Answers as the API does, but "nothing" finds nothing, "odd" lacks a field, and "broken" fails."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)["q"][0]
        hit = dict.fromkeys(
            ["repo", "path", "start_line", "end_line", "language", "symbol", "score", "text", "revision", "url"][
                : 9 if query == "odd" else 10
            ]
        )
        body = json.dumps({"query": query, "took_ms": 1, "hits": [] if query == "nothing" else [hit]}).encode()
        self.send_response(500 if query == "broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def answering() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.enable_socket
def test_latencies_of_good_answers_are_summed_up(answering):
    figures = ask_all(answering, [Query(f"words {number}", "phrase") for number in range(20)])

    assert figures["queries"] == figures["with_hits"] == 20
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= figures["max_ms"]


@pytest.mark.enable_socket
@pytest.mark.parametrize(("text", "message"), [("nothing", "only 0 of 5"), ("odd", "url"), ("broken", "500")])
def test_a_fast_wrong_answer_is_no_measurement(answering, text, message):
    with pytest.raises(MeasurementError, match=message):
        ask_all(answering, [Query(text, "phrase")] * 5)
