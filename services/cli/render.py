"""What a person sees on a terminal: progress, figures and highlighted hits. Rich is imported when it is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

# A chunk can be long; its beginning tells whether it is the one.
_LINES_PER_HIT = 24


@contextmanager
def progress_bar(*, visible: bool) -> Iterator[Callable[[dict[str, int]], None]]:
    """Show a bar on standard error; yields the function to call with a job's progress."""
    if not visible:
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"))
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("looking for files", total=None)

        def advance(progress: dict[str, int]) -> None:
            total = progress["files"]
            if total:
                bar.update(task, description="indexing", total=total, completed=progress["files_embedded"])

        yield advance


def print_figures(counts: dict[str, Any]) -> None:
    """Print the figures of an index run."""
    with _output() as console:
        console.print(f"[bold green]{counts['repo']}[/] at [cyan]{counts['revision'][:16]}[/]")
        rate = f", {counts['files_per_s']:,.0f} files/s" if counts["changed"] else ""
        console.print(
            f"  {counts['changed']:,} of {counts['files']:,} files indexed in {counts['seconds']:.1f} s{rate}"
        )
        made, known = f"{counts['embedded']:,} embedded now", f"{counts['cached']:,} known from the cache"
        console.print(f"  {counts['chunks']:,} chunks: {made}, {known}")
        if counts["skipped"]:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts["skipped"].items())
            console.print(f"  skipped: {reasons}  [dim](quarry status --skipped lists them)[/]")


def print_hits(answer: dict[str, Any]) -> None:
    """Print the hits of a search, those of one file in a row under one heading."""
    from rich.markup import escape

    with _output() as console:
        if not answer["hits"]:
            console.print(f"nothing found for [bold]{escape(repr(answer['query']))}[/]")
            return
        for (repo, path), hits in groupby(answer["hits"], key=lambda hit: (hit["repo"], hit["path"])):
            console.print(f"[bold magenta]{escape(repo)}[/]/[bold]{escape(_visible(path))}[/]")
            for hit in hits:
                _print_hit(console, hit)
        console.print(f"[dim]{len(answer['hits'])} hits in {answer['took_ms']:.1f} ms[/]")


@contextmanager
def _output() -> Iterator[Any]:
    # Lines are never folded: what reads them is often a program. Written by one call of `print`,
    # as Rich has an exit of its own when the reader has gone.
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    with console.capture() as capture:
        yield console
    print(capture.get(), end="")


def _print_hit(console: Any, hit: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.syntax import Syntax

    symbol = f"  [yellow]{escape(_visible(hit['symbol']))}[/]" if hit["symbol"] else ""
    console.print(f"  [cyan]{hit['start_line']}-{hit['end_line']}[/]{symbol}  [dim]{hit['score']:.3f}[/]")
    lines = _visible(hit["text"].rstrip()).split("\n")
    if console.is_terminal:
        code = Syntax(
            "\n".join(lines[:_LINES_PER_HIT]),
            hit["language"],
            line_numbers=True,
            start_line=hit["start_line"],
            background_color="default",
        )
        console.print(code, soft_wrap=False)
    else:
        for number, line in enumerate(lines[:_LINES_PER_HIT], hit["start_line"]):
            console.out(f"  {number:>6} {line}", highlight=False)
    if len(lines) > _LINES_PER_HIT:
        console.print(f"         [dim]… {len(lines) - _LINES_PER_HIT} more lines[/]")


def _visible(text: str) -> str:
    # Code is hostile text: control characters must not reach the terminal.
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text.replace("\r\n", "\n"))
