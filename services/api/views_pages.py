"""The pages: search, one file, and what is indexed. They work without scripts."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, render_template, request, url_for
from markupsafe import Markup

from services.api.files import read_file
from services.api.highlight import highlight, mark_matches, mark_nothing, mark_words, visible
from services.api.hits import Hit, SearchResult
from services.api.jobs import explain_path, repo_document
from services.api.languages import LEXERS
from services.api.parameters import integer, query_parameters
from services.api.permalink import Place, forge_link
from services.api.query import understand
from services.api.request import MAX_LIMIT, Mode, SearchRequest, parse_search
from services.api.services import Services
from services.core.errors import InvalidRequest, QuarryError

_MAX_LINES_SHOWN = 40
_SKIPPED_LISTED = 500
_MODES = {
    Mode.HYBRID: "Meaning and words together, re-ranked",
    Mode.SYMBOL: "Where a name is defined",
    Mode.EXACT: "Literal text, case counts",
    Mode.REGEX: "RE2 expression; ignores case unless it has a capital letter",
    Mode.SEMANTIC: "Meaning alone",
    Mode.LEXICAL: "Words alone",
}


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of code; `number` is None for the last one of a file without its end."""

    number: int
    html: Markup


@dataclass(frozen=True, slots=True)
class Piece:
    """One hit as the page shows it."""

    hit: Hit
    lines: list[CodeLine]
    hidden_lines: int
    link: str


@dataclass(frozen=True, slots=True)
class FileHits:
    """The hits of one file, by line."""

    repo: str
    folder: str
    name: str
    path: str
    language: str
    kind: str
    link: str
    forge: str
    pieces: list[Piece]


def page_views(services: Services) -> Blueprint:
    """Return the routes."""
    views = Blueprint("pages", __name__)
    views.add_app_template_filter(visible, "visible")
    views.add_app_template_filter(_when, "when")

    @views.get("/")
    def home() -> str | tuple[str, int]:
        return search_page(services)

    @views.get("/file/<path:repo>")
    def file(repo: str) -> str:
        return file_page(services, repo)

    @views.get("/repos")
    def repos() -> str:
        open_jobs = services.open_jobs()
        listed = [repo_document(repo, open_jobs.get(repo.name)) for repo in services.catalog.list()]
        return render_template("repos.html", repos=listed)

    @views.get("/repos/<path:name>")
    def repo(name: str) -> str:
        return repo_page(services, name)

    @views.get("/favicon.ico")
    def icon() -> Response:
        return Response(status=302, headers={"Location": url_for("static", filename="favicon.svg")})

    return views


def search_page(services: Services) -> str | tuple[str, int]:
    """Return the search page with the answer to the current request, if it asks something."""
    asked: dict[str, Any] = {"q": request.args.get("q", ""), "mode": request.args.get("mode", "")}
    result, error, wanted = None, None, None
    try:
        asked = _form()
        if asked.get("q", "").strip():
            wanted = parse_search(asked)
            result = services.searcher.search(wanted)
            services.metrics.searched(wanted.mode.value, result.took_ms, result.damaged)
    except QuarryError as problem:
        error = problem
    page = render_template(
        "search.html",
        asked=asked,
        modes=_MODES,
        repos=services.catalog.list(),
        languages=sorted(LEXERS),
        result=result,
        files=group_by_file(wanted, result) if wanted and result else [],
        error=str(error) if error else "",
        more=_more(wanted, result) if wanted and result else "",
    )
    return (page, error.http_status) if error else page


def group_by_file(wanted: SearchRequest, result: SearchResult) -> list[FileHits]:
    """Return the hits by file, files in the order of their best hit."""
    order: dict[tuple[str, str], list[Hit]] = {}
    for hit in result.hits:
        order.setdefault((hit.repo, hit.path), []).append(hit)
    words = understand(wanted.query).words if wanted.mode not in (Mode.EXACT, Mode.REGEX) else ()
    return [_file_hits(sorted(hits, key=lambda hit: hit.start_line), words) for hits in order.values()]


def file_page(services: Services, repo: str) -> str:
    """Return the page of the file that the current request names.

    Raises:
        NotFound: it is not indexed.
    """
    values = query_parameters(("path", "lines", "rev"))
    if "path" not in values:
        raise InvalidRequest("parameter 'path' is missing; it says which file of the repository to show")
    found = read_file(services.searcher, repo, values["path"])
    first, last = _line_range(values.get("lines", ""))
    lines = highlight(found.text, found.file.language, mark_nothing)
    place = Place(repo, found.file.path, found.live.revision, first or 1, last or 1)
    folder, _, name = found.file.path.rpartition("/")
    return render_template(
        "file.html",
        repo=repo,
        file=found.file,
        folder=folder,
        name=name,
        lines=[CodeLine(i, html) for i, html in enumerate(lines, 1)],
        symbols=found.symbols[:_SKIPPED_LISTED],
        first=first,
        last=last,
        revision=found.live.revision,
        asked_revision=values.get("rev", ""),
        forge=forge_link(found.live.repo.source, place),
    )


def repo_page(services: Services, name: str) -> str:
    """Return the page of one repository: what was skipped, and whether one path is found.

    Raises:
        NotFound: there is none of that name.
    """
    values = query_parameters(("path", "reason"))
    repo = services.catalog.get(name)
    manifest = services.searcher.live.manifest(repo)
    reason = values.get("reason", "")
    skipped = [each for each in manifest.skipped if reason in ("", each.reason.value)] if manifest else []
    path = values.get("path", "").strip()
    return render_template(
        "repo.html",
        repo=repo_document(repo, services.open_jobs().get(name)),
        counts=manifest.skip_counts() if manifest else {},
        skipped=skipped[:_SKIPPED_LISTED],
        skipped_total=len(skipped),
        reason=reason,
        cut_by_lines=[file for file in manifest.files if file.note][:_SKIPPED_LISTED] if manifest else [],
        path=path,
        explained=explain_path(manifest, path) if path else None,
    )


def _form() -> dict[str, Any]:
    """Return the search form's fields; an empty one was not filled in."""
    values = query_parameters(("q", "path", "mode", "limit", "offset"), lists=("repo", "lang"))
    filled = {name: value for name, value in values.items() if value != ""}
    for name in ("repo", "lang"):
        filled[name] = [value for value in values.get(name, []) if value]
    for name in ("limit", "offset"):
        integer(filled, name)
    return filled


def _file_hits(hits: list[Hit], words: tuple[str, ...]) -> FileHits:
    best = hits[0]
    folder, _, name = best.path.rpartition("/")
    pieces = [_piece(hit, words) for hit in hits]
    forge = best.url if best.url.startswith("https://") else ""
    link = url_for("pages.file", repo=best.repo, path=best.path)
    return FileHits(best.repo, folder, name, best.path, best.language, best.kind, link, forge, pieces)


def _piece(hit: Hit, words: tuple[str, ...]) -> Piece:
    marker = mark_matches(hit.matches, hit.start_line) if hit.matches else mark_words(words)
    text = hit.text.removesuffix("\n")
    lines = [CodeLine(i, html) for i, html in enumerate(highlight(text, hit.language, marker), hit.start_line)]
    link = url_for("pages.file", repo=hit.repo, path=hit.path, lines=f"{hit.start_line}-{hit.end_line}")
    return Piece(hit, lines[:_MAX_LINES_SHOWN], max(0, len(lines) - _MAX_LINES_SHOWN), f"{link}#L{hit.start_line}")


def _more(wanted: SearchRequest, result: SearchResult) -> str:
    """Return the address of the same search with more hits, "" if there are none."""
    if len(result.hits) < wanted.limit or wanted.limit >= MAX_LIMIT:
        return ""
    limit = min(MAX_LIMIT, wanted.limit * 2 + 5)
    fields: dict[str, Any] = {"q": wanted.query, "repo": wanted.repos, "lang": wanted.languages, "path": wanted.path}
    filled = {name: value for name, value in fields.items() if value}
    return url_for("pages.home", mode=wanted.mode.value, limit=limit, **filled)


def _line_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not first.isdecimal() or len(text) > 20:
        return 0, 0
    start = int(first)
    return start, max(start, int(last)) if last.isdecimal() else start


def _when(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
