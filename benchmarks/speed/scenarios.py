"""What is measured: each scenario takes a corpus, runs programs on it, and gives one record."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import corpora, latency, quarry, queries, semble
from benchmarks.speed.corpora import Corpus
from benchmarks.speed.measure import Usage, measure
from benchmarks.speed.queries import Query
from benchmarks.speed.records import Record, median
from services.chunker.grammars import GRAMMARS

_CORES_SYNTHETIC = 2
_SEED = 1
_WARM_UP = 40
_TIMED = 240
_TIMED_PER_MODE = 30
# A scan of a large tree runs into its time limit of 10 s.
_TIMED_SCANS = 5
_SCANS = ("exact", "regex")
_OTHER_MODES = ("semantic", "lexical", "symbol", "exact", "regex")
# Phrases drawn from comments do not stand in the text word for word, names do.
_NAME_MODES = ("symbol", "exact", "regex")


@dataclass(frozen=True, slots=True)
class Bench:
    """A session: the folder for corpora and data directories, the number of runs, where a Linux tree is."""

    folder: Path
    runs: int
    linux: str = ""

    def home(self, name: str) -> Path:
        """Return the data directory of a corpus."""
        return self.folder / "homes" / name


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run of one program."""

    program: str
    usage: Usage
    result: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """Return the run as it is stored."""
        values = asdict(self.usage)
        del values["stdout"]
        return {"program": self.program, **values, "result": self.result}


def stdlib(bench: Bench) -> Record:
    """Measure cold indexing of the standard library against the floor and semble, in turns."""
    corpus = corpora.stdlib(bench.folder)
    description = corpus.describe()
    home = bench.home(corpus.name)
    _note("stdlib: warming up")
    quarry.index(corpus.path, home, fresh=True)
    listing = _write_floor_list(corpus, home)
    runs = []
    for number in range(bench.runs):
        _note(f"stdlib: run {number + 1} of {bench.runs}")
        runs.append(_quarry(corpus, home, fresh=True))
        runs.append(_measured("floor", measure([sys.executable, "-m", "benchmarks.speed.floor", str(listing)])))
        for workers in semble.WORKERS:
            runs.append(_measured(f"semble {workers}", semble.index(bench.folder, corpus.path, workers)))
    unchanged = _quarry(corpus, home, fresh=False)
    ours, floor = _medians(runs, "quarry"), _medians(runs, "floor")
    # The faster of the two ways to run it on this machine.
    peers = {workers: _medians(runs, f"semble {workers}") for workers in semble.WORKERS}
    workers, peer = min(peers.items(), key=lambda item: item[1]["wall_s"])
    figures = {
        **_figures(ours, runs, home),
        "unchanged_s": unchanged.usage.wall_s,
        "floor_files": runs[1].result["files"],
        "floor_cpu_s": floor["cpu_s"],
        "cpu_over_floor": round(ours["cpu_s"] / floor["cpu_s"], 2),
        "semble_workers": workers,
        "semble_wall_s": peer["wall_s"],
        "semble_cpu_s": peer["cpu_s"],
        "semble_files": runs[2].result["files"],
        "speed_over_semble": round(peer["wall_s"] / ours["wall_s"], 2),
        "speed_over_semble_one_process": round(peers[0]["wall_s"] / ours["wall_s"], 2),
    }
    return Record("stdlib", figures, [run.row() for run in [*runs, unchanged]], description)


def synthetic(bench: Bench) -> Record:
    """Measure cold indexing of 50,000 generated files on two cores, and the re-index that finds nothing changed."""
    return _cold_and_unchanged(bench, corpora.synthetic(bench.folder), cores=_CORES_SYNTHETIC)


def linux(bench: Bench) -> Record:
    """Measure cold indexing of a Linux tree, and the re-index that finds nothing changed.

    Raises:
        CorpusMissing: there is no such tree.
    """
    return _cold_and_unchanged(bench, corpora.linux(bench.folder, bench.linux), cores=0)


def search(bench: Bench) -> Iterable[Record]:
    """Measure warm searches over every corpus that the other scenarios have indexed."""
    for corpus in _indexed(bench):
        _note(f"search: {corpus.name}")
        yield _search(bench, corpus)


SCENARIOS: dict[str, Callable[[Bench], Record]] = {"stdlib": stdlib, "synthetic": synthetic, "linux": linux}


def _cold_and_unchanged(bench: Bench, corpus: Corpus, cores: int) -> Record:
    description = corpus.describe()
    home = bench.home(corpus.name)
    runs = []
    for number in range(bench.runs):
        _note(f"{corpus.name}: run {number + 1} of {bench.runs}")
        runs.append(_quarry(corpus, home, fresh=True, cores=cores))
    unchanged = [_quarry(corpus, home, fresh=False, cores=cores) for _ in range(bench.runs)]
    ours = _medians(runs, "quarry")
    files = runs[0].result["files"]
    figures = {
        **_figures(ours, runs, home),
        "core_s_per_50k_files": round(ours["cpu_s"] / files * 50_000, 1),
        "unchanged_s": round(median([run.usage.wall_s for run in unchanged]), 2),
    }
    return Record(corpus.name, figures, [run.row() for run in [*runs, *unchanged]], description)


def _search(bench: Bench, corpus: Corpus) -> Record:
    home = bench.home(corpus.name)
    drawn = queries.draw(corpus.path, quarry.repo_name(home), _WARM_UP + _TIMED, _SEED)
    plain = [query for query in drawn[_WARM_UP:] if not query.filters]
    names = [query for query in plain if query.kind == "symbol"]
    with latency.serving(home) as (port, pid):
        latency.ask_all(port, drawn[:_WARM_UP])
        figures = latency.ask_all(port, drawn[_WARM_UP:])
        rows = [
            {
                "mode": mode,
                **latency.ask_all(port, _of_mode(names if mode in _NAME_MODES else plain, mode), mode, 0.5),
            }
            for mode in _OTHER_MODES
        ]
        figures["server_pss_mb"] = latency.server_memory_mb(pid)
    return Record(f"search-{corpus.name}", figures, rows, {"label": corpus.label})


def _of_mode(drawn: list[Query], mode: str) -> list[Query]:
    return drawn[: _TIMED_SCANS if mode in _SCANS else _TIMED_PER_MODE]


def _indexed(bench: Bench) -> list[Corpus]:
    found = []
    for make in (corpora.stdlib, corpora.synthetic, lambda folder: corpora.linux(folder, bench.linux)):
        try:
            corpus = make(bench.folder)
        except corpora.CorpusMissing as reason:
            _note(f"search: skipped: {reason}")
            continue
        if (bench.home(corpus.name) / "catalog.db").exists():
            found.append(corpus)
        else:
            _note(f"search: skipped {corpus.name}: not indexed yet")
    return found


def _quarry(corpus: Corpus, home: Path, *, fresh: bool, cores: int = 0) -> Run:
    usage, result = quarry.index(corpus.path, home, fresh=fresh, cores=cores)
    return Run("quarry" if fresh else "quarry unchanged", usage, result)


def _measured(program: str, usage: Usage) -> Run:
    return Run(program, usage, json.loads(usage.stdout))


def _medians(runs: list[Run], program: str) -> dict[str, float]:
    usages = [run.usage for run in runs if run.program == program]
    names = ("wall_s", "cpu_s", "peak_pss_mb", "peak_rss_mb")
    return {name: round(median([getattr(usage, name) for usage in usages]), 2) for name in names}


def _figures(ours: dict[str, float], runs: list[Run], home: Path) -> dict[str, Any]:
    result = runs[0].result
    return {
        **ours,
        "files": result["files"],
        "chunks": result["chunks"],
        "files_per_s": round(result["files"] / ours["wall_s"], 1),
        "disk_mb": quarry.disk_mb(home),
    }


def _write_floor_list(corpus: Corpus, home: Path) -> Path:
    files = quarry.indexed_files(home)
    listed = [(str(corpus.path / path), language) for path, language in files if language in GRAMMARS]
    target = home.with_name(home.name + "-floor.json")
    target.write_text(json.dumps(listed))
    return target


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
