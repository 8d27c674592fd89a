import re
from html.parser import HTMLParser

import pytest

from services.api.app import create_app
from services.core.model import Skipped, SkipReason
from tests.fakes_search import Index

HOSTILE = "<img src=x onerror=alert(1)>\"'&"
FILES = {
    "src/retry.py": "class RetryPolicy:\n    def backoff(self):\n        return '\u202eevil'\n" + "x = 1\n" * 20,
    f"src/{HOSTILE}.py": f"class Hostile:\n    text = {HOSTILE!r}\n    tag = '</script><script>alert(1)</script>'\n",
}


class Page(HTMLParser):
    """Tags and text of a page; fails on what a strict content policy would refuse."""

    VOID = frozenset({"meta", "link", "input", "option", "path", "use"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert "style" not in values
        assert not [name for name in values if name.startswith("on")]
        assert not (values.get("href") or "").lower().startswith("javascript:")
        self.tags.append((tag, values))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        assert self.open[-1:] not in (["script"], ["style"])
        self.text += data

    def links(self):
        return [values["href"] for tag, values in self.tags if tag == "a"]


@pytest.fixture
def index(tmp_path):
    index = Index(tmp_path)
    skipped = (Skipped("logo.png", SkipReason.BINARY), Skipped(HOSTILE, SkipReason.SECRET))
    index.add("team/app", FILES, revision="abc123", skipped=skipped, lines=6)
    return index


@pytest.fixture
def client(index):
    return create_app(index.searcher, jobs=index.jobs, catalog=index.catalog, ledger=index.ledger).test_client()


def page(client, address, *, status=200, **query):
    response = client.get(address, query_string=query, headers={"Accept": "text/html"})
    assert (response.status_code, response.mimetype) == (status, "text/html")
    return Page(response.text)


def test_the_first_page_asks_and_loads_nothing_from_elsewhere(client):
    shown = page(client, "/")

    assert [values["name"] for tag, values in shown.tags if tag == "input" and values.get("type") == "search"] == ["q"]
    sources = [
        values.get("src") or values.get("href") for tag, values in shown.tags if tag in ("script", "link", "use")
    ]
    assert sources
    assert all(source.startswith("/static/") for source in sources)


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "lexical", "exact", "regex", "symbol"])
def test_hits_are_shown_by_file_with_lines_and_marks(client, mode):
    html = client.get("/", query_string={"q": "RetryPolicy", "mode": mode}).text
    shown = Page(html)

    assert "retry.py" in shown.text
    assert re.search(r"<mark>(Retry|RetryPolicy)</mark>", html)
    assert any(link.startswith("/file/team/app?path=src/retry.py&lines=1-6") for link in shown.links())
    assert re.search(r"\d+\.\d ms", shown.text)


def test_one_file_is_one_group(client):
    shown = page(client, "/", q="x", mode="exact", path="src/retry.py")

    assert len([tag for tag, _ in shown.tags if tag == "article"]) == 1


def test_hostile_names_text_and_queries_are_only_text(client):
    shown = page(client, "/", q=f"Hostile {HOSTILE}", path=f"*{HOSTILE[:4]}*")

    assert HOSTILE in shown.text
    assert not [tag for tag, _ in shown.tags if tag == "img"]


def test_characters_that_reorder_text_are_shown(client):
    for address, query in (("/", {"q": "RetryPolicy"}), ("/file/team/app", {"path": "src/retry.py"})):
        shown = page(client, address, **query)
        assert "U+202E" in shown.text
        assert "\u202e" not in shown.text


def test_filters_keep_what_was_filled_in(client):
    shown = page(client, "/", q="RetryPolicy", mode="exact", repo="team/app", lang="python", path="src/**")

    fields = {
        values.get("name"): values.get("value") for tag, values in shown.tags if tag == "input" and "value" in values
    }
    assert (fields["lang"], fields["path"]) == ("python", "src/**")
    assert [values["value"] for tag, values in shown.tags if tag == "option" and "selected" in values] == ["team/app"]
    assert [values["value"] for tag, values in shown.tags if tag == "input" and "checked" in values] == ["exact"]


def test_nothing_found_says_what_to_try(client):
    shown = page(client, "/", q="zzzzz", mode="exact", path="src/**")

    assert "Nothing found" in shown.text
    assert "/?q=zzzzz&mode=exact" in shown.links()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"q": "(", "mode": "regex"}, 400),
        ({"q": "x", "repo": "nope"}, 404),
        ({"q": "x", "lang": "klingon"}, 400),
        ({"q": "x", "limit": "many"}, 400),
    ],
)
def test_what_can_not_be_searched_is_said_on_the_page(client, query, status):
    assert "can’t be run" in page(client, "/", status=status, **query).text


def test_more_results_are_offered_when_there_are(client):
    assert any("limit=7" in link for link in page(client, "/", q="x", mode="exact", limit="1").links())
    assert not any("limit=" in link for link in page(client, "/", q="RetryPolicy", mode="exact").links())


def test_a_running_first_index_is_announced(client, index):
    index.begin("fresh", {"a.py": "x = 1\n"})

    assert "First index under way for fresh" in page(client, "/", q="x").text


def test_damaged_texts_are_announced(client, index):
    file = index.searcher.live.files(index.searcher.live.view().repos["team/app"]).files[0]
    index.blobs.damage(file.pack)

    assert "damaged" in page(client, "/", q="x", mode="exact").text


def test_a_file_is_shown_whole_with_numbered_lines(client):
    shown = page(client, "/file/team/app", path="src/retry.py", lines="2-3")

    rows = [values for tag, values in shown.tags if tag == "tr"]
    assert [row["id"] for row in rows] == [f"L{i}" for i in range(1, 24)]
    assert [row["id"] for row in rows if row.get("class") == "asked"] == ["L2", "L3"]
    assert "23 lines" in shown.text
    assert "SymbolsRetryPolicybackoff" in shown.text


def test_a_link_to_an_older_revision_says_so(client):
    assert "Lines may have moved" in page(client, "/file/team/app", path="src/retry.py", rev="0ld").text
    assert "Lines may have moved" not in page(client, "/file/team/app", path="src/retry.py", rev="abc123").text


@pytest.mark.parametrize(
    ("address", "query", "status"),
    [
        ("/file/team/app", {"path": "nope"}, 404),
        ("/file/team/app", {"path": "../../etc/passwd"}, 404),
        ("/file/nope", {"path": "a"}, 404),
        ("/file/team/app", {}, 400),
        ("/file/team/app", {"path": HOSTILE}, 404),
        ("/repos/nope", {}, 404),
    ],
)
def test_what_is_not_there_is_an_error_page(client, address, query, status):
    page(client, address, status=status, **query)


@pytest.mark.parametrize("lines", ["x", "-1", "5-2", "9" * 50, "1-x", "٣"])
def test_odd_line_numbers_do_no_harm(client, lines):
    page(client, "/file/team/app", path="src/retry.py", lines=lines)


def test_repositories_are_listed_with_their_state(client, index):
    index.begin("fresh", {"a.py": "x = 1\n"})
    shown = page(client, "/repos")

    assert "/repos/team/app" in shown.links()
    assert re.search(r"fresh.*indexing.*team/app.*indexed.*abc123", shown.text, re.DOTALL)


def test_a_repository_lists_skipped_files_with_reasons(client):
    shown = page(client, "/repos/team/app").text

    assert "logo.png" in shown
    assert HOSTILE in shown
    assert "logo.png" not in page(client, "/repos/team/app", reason="secret").text
    assert "was skipped" in page(client, "/repos/team/app", path="logo.png").text
    assert "is indexed" in page(client, "/repos/team/app", path="src/retry.py").text
    assert "not in the indexed revision" in page(client, "/repos/team/app", path="nope").text


def test_the_api_is_described_for_people(client):
    shown = page(client, "/docs")

    assert "/v1/search" in shown.text
    assert "SearchResult" in shown.text
