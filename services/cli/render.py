"""What a person sees on a terminal: progress, figures and highlighted hits. Rich is imported when it is needed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from services.api.explain import explain
from services.api.words import stems

# A chunk can be long; the part that says most of the query tells whether it is the one.
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
        made, known = f"{counts['embedded']:,} embedded now", f"{counts['cached']:,} were known or occur twice"
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
        for (repo, path), hits in groupby(answer["hits"], key=lambda hit: (hit["repo"], hit["path"])):
            console.print(f"[bold magenta]{escape(repo)}[/]/[bold]{escape(_one_line(path))}[/]")
            for hit in hits:
                _print_hit(console, hit, frozenset(stems(answer["query"])))
        found = "1 hit" if len(answer["hits"]) == 1 else f"{len(answer['hits'])} hits"
        console.print(f"[dim]{found} in {answer['took_ms']:.1f} ms[/]")
        for note in _notes(answer):
            console.print(f"[yellow]{escape(note)}[/]")


def print_repos(repos: Iterable[dict[str, Any]]) -> None:
    """Print a line for each repository."""
    for repo in repos:
        print(f"{repo['name']}\t{repo['revision'][:16] or 'not indexed yet'}\t{repo['files']} files\t{repo['source']}")


def print_status(document: dict[str, Any]) -> None:
    """Print the repositories and jobs of a data directory, or of a server."""
    print(f"server {document['server']}" if "server" in document else f"data directory {document['home']}")
    for repo in document["repos"]:
        print(f"\n{repo['name']}  ({repo['kind']} {repo['source']}{' @ ' + repo['ref'] if repo['ref'] else ''})")
        if repo["revision"]:
            when = datetime.fromtimestamp(repo["indexed_at"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            print(f"  {repo['revision'][:16]}, {repo['files']:,} files, {repo['chunks']:,} chunks, indexed {when}")
        else:
            print("  not indexed yet")
        for reason, count in repo["skipped"].items():
            print(f"  skipped {count:>8,}  {reason}")
        for file in repo.get("cut_by_lines", ()):
            print(f"  cut by lines ({file['reason']})  {file['path']!r}")
        for file in repo.get("skipped_files", ()):
            print(f"  {file['reason']:<12} {file['path']!r}  {file['detail'] or file['explanation']}")
    for job in document["jobs"]:
        print(f"\njob {job['id']} on {job['repo']}: {job['state']} {job['error']}")


def _notes(answer: dict[str, Any]) -> Iterator[str]:
    """Yield what keeps an answer from being the whole one."""
    if answer.get("indexing"):
        yield f"still being indexed for the first time: {', '.join(answer['indexing'])}"
    if answer.get("note"):
        yield answer["note"]
    if answer.get("truncated"):
        yield "the time limit was reached before everything was read; narrow it with --repo, --lang or --path"
    if answer.get("damaged"):
        yield f"{answer['damaged']} results are damaged and not shown; 'quarry doctor' says where"


@contextmanager
def _output() -> Iterator[Any]:
    # Lines are never folded: what reads them is often a program. Written by one call of `print`,
    # as Rich has an exit of its own when the reader has gone.
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    with console.capture() as capture:
        yield console
    print(capture.get(), end="")


def _print_hit(console: Any, hit: dict[str, Any], words: frozenset[str]) -> None:
    from rich.markup import escape
    from rich.syntax import Syntax

    symbol = f"  [yellow]{escape(_visible(hit['symbol']))}[/]" if hit["symbol"] else ""
    console.print(f"  [cyan]{hit['start_line']}-{hit['end_line']}[/]{symbol}  [dim]{hit['score']:.3f}[/]")
    if hit.get("rules"):
        console.print(f"  [dim]{explain(hit['rules'])}[/]", highlight=False)
    lines = _visible(hit["text"].rstrip()).split("\n")
    above = _lines_above(hit, lines, words)
    shown = lines[above : above + _LINES_PER_HIT]
    first = hit["start_line"] + above
    _print_more(console, above)
    if console.is_terminal:
        text, language = "\n".join(shown), hit["language"]
        code = Syntax(text, language, line_numbers=True, start_line=first, background_color="default")
        console.print(code, soft_wrap=False)
    else:
        for number, line in enumerate(shown, first):
            console.out(f"  {number:>6} {line}", highlight=False)
    _print_more(console, len(lines) - above - len(shown))


def _lines_above(hit: dict[str, Any], lines: Sequence[str], words: frozenset[str]) -> int:
    """Return how many lines to leave out so that the first match is shown, with some before it, or else most words."""
    last = max(0, len(lines) - _LINES_PER_HIT)
    if hit.get("matches"):
        match: int = hit["matches"][0][0] - hit["start_line"]
        return max(0, min(match - _LINES_PER_HIT // 3, last))
    said = [words.intersection(stems(line)) for line in lines] if words else []
    counts = [len(frozenset().union(*said[above : above + _LINES_PER_HIT])) for above in range(last + 1)]
    best = max(counts)
    fits = [above for above, count in enumerate(counts) if count == best]
    # From the beginning, where the name stands, if that says as much; else with some lines after the last word.
    return max(above for above in fits if above <= fits[0] + _LINES_PER_HIT // 3) if fits[0] else 0


def _print_more(console: Any, lines: int) -> None:
    if lines > 0:
        console.print(f"         [dim]… {lines} more lines[/]")


def _one_line(text: str) -> str:
    return _visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _visible(text: str) -> str:
    # Code is hostile text: control characters must not reach the terminal.
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text.replace("\r\n", "\n"))
