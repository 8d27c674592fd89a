"""Tables for the README and docs/quality.md, and the plots beside it, from the newest stored results."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.retrieval import quarry, semble
from benchmarks.retrieval.bootstrap import interval, mean
from benchmarks.retrieval.charts import Bar, Group, bar_chart
from benchmarks.retrieval.guard import JUDGED
from benchmarks.retrieval.lexical import BM25, TERMS
from benchmarks.retrieval.rows import ABLATION, is_ablation, rows_of, select
from benchmarks.speed.records import Record
from benchmarks.speed.report import fill

START, END = "<!-- quality:start -->", "<!-- quality:end -->"
PAGE = "quality.md"
_BASELINES = (semble.NAME, BM25, TERMS)
_PARTS = tuple(variant.name for variant in quarry.PARTS)
_METRICS = {
    "ndcg": "NDCG@10 by chunk",
    "ndcg_file": "NDCG@10 by file",
    "mrr": "MRR@10",
    "recall": "recall@10",
}
_ASKED = {
    "labelled": "labelled questions",
    "doc-comments": "doc comment → function",
    "commits": "commit subject → files",
}
# (must, aim) by kind of question and setup.
_LIMITS = {("labelled", "single"): (0.88, 0.92), ("labelled", "pooled"): (0.77, 0.82)}
_RANKING_LIMITS_MS = (10, 3)
# MRR over the peer's, in every language.
_OVER_PEER = (1, 1.15)


def summary(records: Mapping[str, Record]) -> str:
    """Return the README's table and what it was measured on, in Markdown."""
    rows = [
        _summary_row(records[scenario], setup)
        for scenario in JUDGED
        if scenario in records
        for setup in records[scenario].figures
    ]
    if "doc-comments" in records:
        rows += _peer_rows(records["doc-comments"])
    if "ranking" in records:
        rows.append(_ranking_row(records["ranking"].figures))
    if not rows:
        return "No results are stored yet: `make bench-quality`."
    head = ["| asked | must | aim | Quarry (95 % interval) | semble 0.7 | BM25 |", "| --- |" + " ---: |" * 5]
    return "\n".join([*head, *rows, "", *_provenance(records)])


def page(records: Mapping[str, Record]) -> str:
    """Return the tables of docs/quality.md, in Markdown."""
    parts: list[str] = []
    for scenario in JUDGED:
        if scenario in records:
            parts += _section(records[scenario])
    if "ranking" in records:
        parts += _ranking_section(records["ranking"])
    return "\n".join([*parts, "### Where this was measured", "", *_provenance(records)])


def plots(records: Mapping[str, Record]) -> dict[str, str]:
    """Return the plots by file name."""
    drawn: dict[str, str] = {}
    for scenario, metric in JUDGED.items():
        if scenario in records:
            drawn[f"quality-{scenario}.svg"] = _systems_plot(records[scenario], metric)
    if "labelled" in records and _ablations(records["labelled"]):
        drawn["quality-rules.svg"] = _rules_plot(records["labelled"])
    if "doc-comments" in records:
        drawn["quality-languages.svg"] = _languages_plot(records["doc-comments"])
    return drawn


def write_docs(folder: Path, records: Mapping[str, Record]) -> None:
    """Fill in docs/quality.md and write the plots beside it."""
    fill(folder / PAGE, page(records), START, END)
    for name, text in plots(records).items():
        (folder / name).write_text(text)


def write_table(records: Mapping[str, Record], document: Path | None) -> None:
    """Put the README's table between its marks, or print it."""
    if document:
        fill(document, summary(records), START, END)
    else:
        print(summary(records))


def _ablations(record: Record) -> list[str]:
    """Return the systems with one rule off, which may be rules that are gone by now."""
    return sorted({system for systems in record.figures.values() for system in systems if is_ablation(system)})


def _summary_row(record: Record, setup: str) -> str:
    metric = JUDGED[record.scenario]
    systems = record.figures[setup]
    ours = systems[quarry.NAME]
    must, aim = _LIMITS.get((record.scenario, setup), ("", ""))
    missed = " (missed)" if must and ours[metric]["mean"] < must else ""
    text = f"{_ASKED[record.scenario]}, {setup}: {_METRICS[metric]}"
    theirs = " | ".join(f"{systems[s][metric]['mean']:.3f}" if s in systems else "" for s in (semble.NAME, BM25))
    return f"| {text} | {_limit(must)} | {_limit(aim)} | {_value(ours[metric])}{missed} | {theirs} |"


def _peer_rows(record: Record) -> list[str]:
    """Return where Quarry is least ahead of the peer."""
    rows = []
    must, aim = _OVER_PEER
    for setup, systems in record.figures.items():
        if semble.NAME not in systems:
            continue
        ours, theirs = (systems[system]["languages"] for system in (quarry.NAME, semble.NAME))
        ratios = {language: ours[language]["mrr"] / max(theirs[language]["mrr"], 1e-9) for language in theirs}
        least = min(ratios, key=lambda language: ratios[language])
        missed = " (missed)" if ratios[least] <= must else ""
        text = f"{_ASKED[record.scenario]}, {setup}: MRR over semble's in the worst language, {least}"
        rows.append(f"| {text} | > {must} × | ≥ {aim} × | {ratios[least]:.2f} ×{missed} | | |")
    return rows


def _ranking_row(figures: dict[str, Any]) -> str:
    must, aim = _RANKING_LIMITS_MS
    took = figures["ranking_ms"]["p95"]
    missed = " (missed)" if took > must else ""
    return f"| ranking, {figures['chunks']:,} chunks, P95 | ≤ {must} ms | ≤ {aim} ms | {took:.1f} ms{missed} | | |"


def _limit(value: float | str) -> str:
    return f"≥ {value:.2f}" if isinstance(value, float) else value


def _value(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _section(record: Record) -> list[str]:
    parts = [
        f"### {_ASKED[record.scenario].capitalize()}",
        "",
        f"![{record.scenario}](quality-{record.scenario}.svg)",
        "",
    ]
    parts += _systems_table(record)
    if _categories(record) != [""]:
        parts += _categories_table(record)
    parts += _languages_table(record, JUDGED[record.scenario])
    parts += ["![languages](quality-languages.svg)", ""] if record.scenario == "doc-comments" else []
    if _ablations(record):
        parts += _rules_table(record)
        parts += ["![rules](quality-rules.svg)", ""] if record.scenario == "labelled" else []
    return parts


def _systems_table(record: Record) -> list[str]:
    # Answers of lines are lost where the hits of a file are merged.
    metrics = [metric for metric in _METRICS if not (metric == "ndcg_file" and record.scenario == "doc-comments")]
    parts = ["| | " + " | ".join(_METRICS[m] for m in metrics) + " |", "| --- |" + " ---: |" * len(metrics)]
    for setup, systems in record.figures.items():
        for system in (quarry.NAME, *_PARTS, *_BASELINES):
            if system in systems:
                values = (systems[system][metric] for metric in metrics)
                parts.append(f"| {setup}: {_named(system)} | " + " | ".join(map(_value, values)) + " |")
    count = next(iter(record.figures.values()))[quarry.NAME]
    return [*parts, "", f"{count['questions']:,} questions about {count['repositories']} repositories.", ""]


def _categories_table(record: Record) -> list[str]:
    categories = _categories(record)
    parts = ["| NDCG@10 by chunk | " + " | ".join(categories) + " |", "| --- |" + " ---: |" * len(categories)]
    for setup, systems in record.figures.items():
        for system in (quarry.NAME, *_BASELINES):
            if system in systems:
                values = (f"{systems[system]['categories'].get(category, 0):.3f}" for category in categories)
                parts.append(f"| {setup}: {_named(system)} | " + " | ".join(values) + " |")
    return [*parts, ""]


def _categories(record: Record) -> list[str]:
    [systems, *_] = record.figures.values()
    return list(systems[quarry.NAME]["categories"])


def _languages_table(record: Record, metric: str) -> list[str]:
    setups = [setup for setup in record.figures if semble.NAME in record.figures[setup] or len(record.figures) == 1]
    systems = [system for system in (quarry.NAME, *_BASELINES) if system in record.figures[setups[0]]] if setups else []
    columns = [(setup, system) for setup in setups for system in systems]
    if not columns:
        return []
    head = " | ".join(f"{setup}: {_named(system)}" for setup, system in columns)
    parts = [f"| {_METRICS[metric]} | {head} |", "| --- |" + " ---: |" * len(columns)]
    for language in sorted(record.figures[setups[0]][quarry.NAME]["languages"]):
        found = (record.figures[setup][system]["languages"].get(language, {}) for setup, system in columns)
        parts.append(f"| {language} | " + " | ".join(f"{each.get(metric, 0):.3f}" for each in found) + " |")
    return [*parts, ""]


def _rules_table(record: Record) -> list[str]:
    metric = JUDGED[record.scenario]
    setups = list(record.figures)
    parts = [
        f"What {_METRICS[metric]} loses when one rule is off (95 % interval of the paired differences):",
        "",
        "| rule | " + " | ".join(setups) + " |",
        "| --- |" + " ---: |" * len(setups),
    ]
    for system in _ablations(record):
        losses = (_loss(record, setup, system, metric) for setup in setups)
        cells = (f"{bar.value:+.4f} ({bar.low:+.4f} to {bar.high:+.4f})" for bar in losses)
        parts.append(f"| {system.removeprefix('without ')} | " + " | ".join(cells) + " |")
    return [*parts, ""]


def _ranking_section(record: Record) -> list[str]:
    figures = record.figures
    rows = [
        "| " + text + " | " + " | ".join(f"{figures[name][p]:.2f} ms" for p in ("p50", "p95", "p99")) + " |"
        for name, text in (("ranking_ms", "ranking alone"), ("search_ms", "the whole search, texts read"))
    ]
    intro = f"{figures['queries']} questions over one index of {figures['chunks']:,} chunks, one after the other:"
    head = ["| | P50 | P95 | P99 |", "| --- | ---: | ---: | ---: |"]
    return ["### What ranking adds to a query", "", intro, "", *head, *rows, ""]


def _systems_plot(record: Record, metric: str) -> str:
    groups = [
        Group(_named(system), tuple(_bar(record, setup, system, metric) for setup in record.figures))
        for system in (quarry.NAME, *_BASELINES, *_PARTS)
        if all(system in systems for systems in record.figures.values())
    ]
    return bar_chart(f"{_ASKED[record.scenario]}: {_METRICS[metric]}, 95 % intervals", groups)


def _languages_plot(record: Record) -> str:
    [setup, *_] = record.figures
    systems = [system for system in (quarry.NAME, semble.NAME, BM25) if system in record.figures[setup]]
    languages = record.figures[setup][quarry.NAME]["languages"]
    groups = [
        Group(language, tuple(_language_bar(record, setup, s, language) for s in systems)) for language in languages
    ]
    return bar_chart(f"doc comment → function, one repository: {_METRICS['mrr']} by language", groups)


def _rules_plot(record: Record) -> str:
    metric = JUDGED[record.scenario]
    groups = [
        Group(system.removeprefix(ABLATION), tuple(_loss(record, setup, system, metric) for setup in record.figures))
        for system in _ablations(record)
    ]
    return bar_chart(f"what {_METRICS[metric]} loses without each rule", groups, digits=4)


def _bar(record: Record, setup: str, system: str, metric: str) -> Bar:
    found = record.figures[setup][system][metric]
    return Bar(setup, found["mean"], found["low"], found["high"])


def _language_bar(record: Record, setup: str, system: str, language: str) -> Bar:
    value = record.figures[setup][system]["languages"][language]["mrr"]
    return Bar(_named(system), value, value, value)


def _loss(record: Record, setup: str, system: str, metric: str) -> Bar:
    rows = rows_of(record)
    whole = {row["repo"]: row[metric] for row in select(rows, setup, quarry.NAME)}
    losses = [whole[row["repo"]] - row[metric] for row in select(rows, setup, system)]
    low, high = interval(losses)
    return Bar(setup, mean(losses), low, high)


def _named(system: str) -> str:
    return {quarry.NAME: "Quarry"}.get(system, f"Quarry, {system}" if system in _PARTS else system)


def _provenance(records: Mapping[str, Record]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in _in_order(records):
        record = records[name]
        machine, source = record.machine, record.source
        text = (
            f"commit {source['commit'][:10]}{' with changes' if source['dirty'] else ''}, {record.taken_at[:10]}, "
            f"model {record.corpus['model']['model']}, {machine['cpu']}, {machine['cores']} cores"
        )
        groups.setdefault(text, []).append(name)
    return [f"- {', '.join(names)}: {text}" for text, names in groups.items()]


def _in_order(records: Mapping[str, Record]) -> Iterable[str]:
    order: Sequence[str] = (*JUDGED, "ranking")
    return (name for name in order if name in records)
