"""The table of recipes, rendered from the newest stored results."""

from typing import Any

from benchmarks.speed.records import Record

SCENARIO = "chunking"

_COLUMNS = (
    ("hybrid, single / pooled", ("single_hybrid", "pooled_hybrid")),
    ("by file", ("single_hybrid_file", "pooled_hybrid_file")),
    ("dense, single / pooled", ("single_semantic", "pooled_semantic")),
    ("lexical, single / pooled", ("single_lexical", "pooled_lexical")),
    ("doc comments (MRR), single / pooled", ("comments_single", "comments_pooled")),
)


def render(records: dict[str, Record]) -> str:
    """Return the table in Markdown: NDCG@10, and what it costs."""
    if SCENARIO not in records:
        return "No results are stored yet: `python -m benchmarks.chunking run`."
    titles = [
        "recipe",
        *(title for title, _ in _COLUMNS),
        "chunks",
        "distinct texts",
        "vectors, MB",
        "split + embed, s",
    ]
    lines = [f"| {' | '.join(titles)} |", "| --- |" + " ---: |" * (len(titles) - 1)]
    return "\n".join([*lines, *(_row(run) for run in records[SCENARIO].runs)])


def _row(run: dict[str, Any]) -> str:
    scores = [" / ".join(f"{run[key]:.3f}" if key in run else "-" for key in keys) for _, keys in _COLUMNS]
    seconds = f"{run['split_s']:.1f} + {run['embed_s']:.1f}"
    cells = [
        run["recipe"],
        *scores,
        f"{run['chunks']:,}",
        f"{run['distinct_texts']:,}",
        f"{run['vector_mb']:.1f}",
        seconds,
    ]
    return f"| {' | '.join(cells)} |"
