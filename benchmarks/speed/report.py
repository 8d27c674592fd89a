"""The table of figures in the README, rendered from the newest stored results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.records import Record

START = "<!-- bench:start -->"
END = "<!-- bench:end -->"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: which figure, and what it must be and is meant to be."""

    scenario: str
    figure: str
    text: str
    unit: str
    must: float
    aim: float
    more_is_better: bool = False


LINES = (
    Line("stdlib", "cpu_over_floor", "standard library, cold: CPU time over reading and parsing alone", "×", 6, 4),
    Line(
        "stdlib",
        "speed_over_semble_one_process",
        "standard library, cold: speed over semble 0.7 as a library",
        "×",
        3,
        6,
        True,
    ),
    Line(
        "stdlib",
        "speed_over_semble",
        "standard library, cold: speed over semble 0.7 with its four workers",
        "×",
        3,
        6,
        True,
    ),
    Line("synthetic", "wall_s", "50,000 generated files, cold, two cores", "s", 60, 25),
    Line("synthetic", "unchanged_s", "50,000 generated files, nothing changed", "s", 3, 3),
    Line("linux", "core_s_per_50k_files", "Linux source, cold: core-seconds per 50,000 files", "s", 480, 240),
    Line("linux", "peak_pss_mb", "Linux source, cold: peak memory of all processes", "MB", 4000, 1500),
    Line("linux", "unchanged_s", "Linux source, nothing changed", "s", 3, 3),
    Line("search-stdlib", "p95_ms", "warm search, standard library, 95th percentile", "ms", 100, 20),
    Line("search-synthetic", "p95_ms", "warm search, 50,000 generated files, 95th percentile", "ms", 100, 20),
    Line("search-linux", "p95_ms", "warm search, Linux source, 95th percentile", "ms", 100, 20),
)


def render(records: dict[str, Record], of: Sequence[Line] = LINES, command: str = "make bench") -> str:
    """Return the table and what it was measured on, in Markdown; lines without a result are left out."""
    lines = [line for line in of if line.scenario in records]
    if not lines:
        return f"No results are stored yet: `{command}`."
    rows = ["| measured | must | aim | result |", "| --- | ---: | ---: | ---: |"]
    rows += [_row(line, records[line.scenario].figures) for line in lines]
    used = {line.scenario: records[line.scenario] for line in lines}
    return "\n".join([*rows, "", *_provenance(used)])


def fill(document: Path, text: str, start_mark: str = START, end_mark: str = END) -> None:
    """Put `text` between the marks of a document.

    Raises:
        ValueError: the document lacks the marks.
    """
    old = document.read_text()
    before, start, rest = old.partition(start_mark)
    _, end, after = rest.partition(end_mark)
    if not (start and end):
        raise ValueError(f"{document.name} has no {start_mark} … {end_mark}")
    document.write_text(f"{before}{start_mark}\n{text}\n{end_mark}{after}")


def _row(line: Line, figures: dict[str, float]) -> str:
    value = figures[line.figure]
    ok = value >= line.must if line.more_is_better else value <= line.must
    mark = "" if ok else " (missed)"
    sign = "≥" if line.more_is_better else "≤"
    limits = " | ".join(f"{sign} {_number(limit, line.unit)}" for limit in (line.must, line.aim))
    return f"| {line.text} | {limits} | {_number(value, line.unit)}{mark} |"


def _number(value: float, unit: str) -> str:
    # Nearly all is not all: a share has a digit more.
    digits = 4 if unit == "%" else 3
    number = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.{digits}g}"
    return f"{number} {unit}".rstrip()


def _provenance(records: dict[str, Record]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name, record in records.items():
        machine, source = record.machine, record.source
        dirty = " with changes" if source["dirty"] else ""
        text = (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Linux {machine['kernel']}, "
            f"Python {machine['python']}; commit {source['commit'][:10]}{dirty}, {record.taken_at[:10]}"
        )
        groups.setdefault(text, []).append(name)
    return [f"- {', '.join(names)}: {text}" for text, names in groups.items()]
