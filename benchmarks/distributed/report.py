"""The table of the distributed mode's figures, rendered from the newest stored results."""

from pathlib import Path

from benchmarks.speed import report
from benchmarks.speed.records import REPOSITORY, Record
from benchmarks.speed.report import Line

RESULTS = REPOSITORY / "benchmarks" / "results" / "distributed"
CHAOS_RESULTS = REPOSITORY / "benchmarks" / "results" / "chaos"
START = "<!-- bench-distributed:start -->"
END = "<!-- bench-distributed:end -->"

LINES = (
    Line(
        "overhead", "cpu_over_embedded", "standard library through all servers: CPU time over embedded", "×", 1.6, 1.4
    ),
    Line("push", "p95_s", "push of 10 files to 5,000 until its lines are found, 95th percentile", "s", 5, 2),
    Line("webhook", "p99_ms", "webhooks, 50 a second: answer, 99th percentile", "ms", 200, 50),
    Line("fork", "least_cached_percent", "second index, or a fork: embeddings from the cache", "%", 99, 99.9, True),
    Line("search", "p95_ms", "searches, 10 a second: answer, 95th percentile", "ms", 300, 100),
    Line("chaos", "lost", "chunks lost after every worker kind was killed 20 times and more, four ways", "", 0, 0),
    Line("chaos", "problems", "differences from git, and from the ledger, after that", "", 0, 0),
    Line("chaos", "longest_recovery_s", "longest until all was searchable again after the last kill", "s", 60, 10),
)


def render(records: dict[str, Record]) -> str:
    """Return the table and what it was measured on, in Markdown."""
    return report.render(records, LINES, "make bench-distributed chaos")


def fill(document: Path, text: str) -> None:
    """Put `text` between the marks of a document.

    Raises:
        ValueError: the document lacks the marks.
    """
    report.fill(document, text, START, END)
