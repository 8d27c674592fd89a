import threading

import pytest

from services.api.request import Mode, SearchRequest
from services.api.search import Searcher
from services.core.errors import InvalidRequest, NotFound
from services.core.ledger import Cleanup, JobState
from tests.fakes_search import Index

SOURCE = {
    "src/retry.py": (
        "class RetryPolicy:\n"
        '    """Wait longer after each failed attempt."""\n\n'
        "    def backoff(self, attempt):\n"
        "        return min(30, 2**attempt)\n"
    ),
    "src/client.py": "from retry import RetryPolicy\n\n\ndef fetch(url):\n    return RetryPolicy().backoff(1)\n",
    "tests/test_retry.py": "def test_backoff():\n    assert RetryPolicy().backoff(0) == 1\n",
    "docs/retry.md": "# Retries\n\nEach failed attempt waits longer.\n",
    "web/app.ts": "export class RetryButton {}\n",
}


@pytest.fixture
def index(tmp_path):
    index = Index(tmp_path)
    index.add("acme/app", SOURCE, source="https://github.com/acme/app.git", revision="abc123")
    return index


def search(index, query, **fields):
    return index.searcher.search(SearchRequest(query, **fields))


def paths(result):
    return [hit.path for hit in result.hits]


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_that_knows_definitions_puts_them_first(index, mode):
    result = search(index, "RetryPolicy", mode=mode)

    # By words alone, or meaning alone, what mentions it is as good.
    alone = mode in (Mode.SEMANTIC, Mode.LEXICAL)
    assert result.hits[0].path in (tuple(SOURCE) if alone else ("src/retry.py",))
    assert all(hit.repo == "acme/app" and hit.revision == "abc123" for hit in result.hits)


def test_a_hit_says_where_it_is_and_holds_the_text_as_indexed(index):
    hit = search(index, "RetryPolicy").hits[0]

    assert (hit.start_line, hit.end_line, hit.language, hit.kind) == (1, 5, "python", "code")
    assert hit.text == SOURCE["src/retry.py"]
    assert hit.url == "https://github.com/acme/app/blob/abc123/src/retry.py#L1-L5"


def test_the_same_search_gives_the_same_answer(index):
    index.add("twin", SOURCE)

    first, second = (search(index, "failed attempt", limit=50).hits for _ in range(2))

    assert first == second


@pytest.mark.parametrize("mode", list(Mode))
def test_filters_hold_in_every_mode(index, mode):
    index.add("other", {"src/retry.py": SOURCE["src/retry.py"]})

    assert {hit.repo for hit in search(index, "RetryPolicy", mode=mode, repos=("other",)).hits} == {"other"}
    assert set(paths(search(index, "retry", mode=mode, languages=("ts",)))) <= {"web/app.ts"}
    assert set(paths(search(index, "RetryPolicy", mode=mode, path="src/**"))) <= {"src/retry.py", "src/client.py"}
    assert set(paths(search(index, "RetryPolicy", mode=mode, path="*_retry.py"))) <= {"tests/test_retry.py"}


def test_a_glob_that_fits_nothing_finds_nothing(index):
    assert search(index, "RetryPolicy", path="nowhere/x?y").hits == ()


def test_hits_can_be_paged_through_without_gap_or_overlap(index):
    whole = search(index, "retry", limit=5).hits

    assert search(index, "retry", limit=2).hits + search(index, "retry", limit=3, offset=2).hits == whole
    assert search(index, "retry", offset=1000).hits == ()


@pytest.mark.parametrize(
    "query", ["🦀", "()", "the of", "a" * 1000, "x " * 400, "'; DROP TABLE repos; --", '{"$ne": 1}', "\u202e"]
)
@pytest.mark.parametrize("mode", list(Mode))
def test_strange_queries_are_answered(index, query, mode):
    if mode is Mode.REGEX:
        query = query.replace("()", "x")

    assert search(index, query, mode=mode).took_ms > 0


def test_a_repository_that_is_not_there_is_not_found(index):
    with pytest.raises(NotFound, match="nope"):
        search(index, "x", repos=("nope",))


def test_a_bad_expression_is_refused(index):
    with pytest.raises(InvalidRequest):
        search(index, "(", mode=Mode.REGEX)


def test_nothing_indexed_finds_nothing(tmp_path):
    assert search(Index(tmp_path), "x").hits == ()


def test_the_new_revision_is_seen_only_when_it_is_committed(index):
    job, rows = index.begin("acme/app", {"src/new.py": "class Shiny:\n    pass\n"}, revision="def456")

    assert search(index, "Shiny", mode=Mode.LEXICAL).hits == ()
    assert search(index, "Shiny", mode=Mode.EXACT).hits == ()
    index.commit(job, rows)
    hit = search(index, "Shiny", mode=Mode.LEXICAL).hits[0]
    assert (hit.path, hit.revision) == ("src/new.py", "def456")
    assert search(index, "Shiny", mode=Mode.EXACT).hits[0].revision == "def456"


def test_what_a_commit_replaced_is_hidden_before_it_is_deleted(index):
    job, rows = index.begin("acme/app", {"src/new.py": "class Shiny:\n    pass\n"})
    old = [point for point, (*_, payload) in index.vectors.points.items() if payload["gen"] != job.id]
    index.vectors.retired |= dict.fromkeys(old, job.id)

    assert "src/retry.py" in paths(search(index, "RetryPolicy"))
    cleaned, index.ledger.cleaned = index.ledger.cleaned, lambda _: None
    index.commit(job, rows)

    assert index.ledger.jobs(cleanups=[Cleanup.RETIRED])
    assert "src/retry.py" not in paths(search(index, "RetryPolicy"))
    cleaned(job.id)


@pytest.mark.parametrize("mode", [Mode.HYBRID, Mode.SYMBOL, Mode.EXACT])
def test_the_first_index_streams_and_says_so(tmp_path, mode):
    index = Index(tmp_path)
    index.begin("fresh", SOURCE, revision="r9")

    result = search(index, "RetryPolicy", mode=mode, path="src/r*")

    assert paths(result)[0] == "src/retry.py"
    assert result.hits[0].revision == "r9"
    assert result.indexing == ("fresh",)


def test_a_first_index_that_failed_leaves_nothing_to_find(tmp_path):
    index = Index(tmp_path)
    job, _ = index.begin("fresh", SOURCE)
    index.ledger.finish_job(job.id, JobState.FAILED, error="x")

    result = search(index, "RetryPolicy")

    assert (result.hits, result.indexing) == ((), ())


def searcher_of(index, schema):
    parts = {name: getattr(index, name) for name in ("embedder", "vectors", "blobs", "catalog", "ledger")}
    return Searcher(**parts, schema=schema)


@pytest.mark.parametrize("mode", list(Mode))
def test_what_was_indexed_with_another_model_is_named_and_not_searched(index, mode):
    result = searcher_of(index, "other").search(SearchRequest("RetryPolicy", mode=mode))

    assert (result.hits, result.outdated, result.indexing) == ((), ("acme/app",), ())
    assert "acme/app: indexed with another model, run 'quarry index'" in result.document()["note"]


def test_what_has_the_models_own_index_is_searched_without_a_note(index):
    document = searcher_of(index, "s").search(SearchRequest("RetryPolicy")).document()

    assert document["hits"]
    assert document["outdated"] == []
    assert "note" not in document


@pytest.mark.parametrize("mode", [Mode.HYBRID, Mode.SYMBOL, Mode.EXACT])
def test_an_index_with_another_model_streams_under_the_new_revision(index, mode):
    with index.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE repos SET schema = 'old' WHERE name = 'acme/app'")
    index.vectors.points.clear()  # each model has a store of its own
    index.begin("acme/app", {"src/retry.py": SOURCE["src/retry.py"]}, revision="def456", first=True)

    result = searcher_of(index, "s").search(SearchRequest("RetryPolicy", mode=mode))

    assert {(hit.path, hit.revision) for hit in result.hits} == {("src/retry.py", "def456")}
    assert (result.indexing, result.outdated) == (("acme/app",), ())


def test_a_job_for_another_model_shows_nothing_yet(index):
    job = index.ledger.create_job("acme/app")

    result = searcher_of(index, "other").search(SearchRequest("RetryPolicy"))

    assert (result.hits, result.indexing, result.outdated) == ((), (job.repo,), ())


def test_a_first_index_streams_though_another_job_waits(tmp_path):
    index = Index(tmp_path)
    index.begin("fresh", SOURCE, revision="r9")
    index.ledger.create_job("fresh")

    assert search(index, "RetryPolicy").hits[0].revision == "r9"


def test_a_removed_repository_is_not_found_though_its_points_are_still_there(index):
    index.catalog.remove("acme/app")

    assert search(index, "RetryPolicy").hits == ()
    assert search(index, "RetryPolicy", mode=Mode.EXACT).hits == ()


def test_a_damaged_text_is_left_out_and_counted(index):
    file = index.searcher.live.files(index.searcher.live.view().repos["acme/app"]).files[0]
    for at in range(8, 300):
        index.blobs.damage(file.pack, at)

    result = search(index, "RetryPolicy")

    assert result.damaged > 0
    assert all(hit.text == SOURCE[hit.path] for hit in result.hits)
    exact = search(index, "RetryPolicy", mode=Mode.EXACT)
    assert (exact.hits, exact.damaged) == ((), 1)


def test_symbol_mode_prefers_the_whole_name_then_case_then_beginnings(index):
    index.add(
        "names",
        {
            "a.py": "def backoffice():\n    pass\n",
            "b.py": "def Backoff():\n    pass\n",
            "c.py": "def nobackoff():\n    pass\n",
            "d.py": "x = backoff\n",
        },
    )

    found = paths(search(index, "backoff", mode=Mode.SYMBOL))

    assert found.index("src/retry.py") < found.index("b.py")
    assert "d.py" not in found


def test_a_qualified_symbol_finds_the_one_in_that_class(index):
    index.add("names", {"a.py": "def backoff():\n    pass\n", "backoff.py": "def backoff():\n    pass\n"})

    assert paths(search(index, "RetryPolicy.backoff", mode=Mode.SYMBOL))[0] == "src/retry.py"


def test_rules_are_told_on_request(index):
    assert search(index, "RetryPolicy", explain=True).document()["hits"][0]["rules"]["defines"] > 0
    assert "rules" not in search(index, "RetryPolicy").document()["hits"][0]


def test_the_document_has_what_the_contract_promises(index):
    document = search(index, "RetryPolicy", mode=Mode.EXACT).document()

    assert document.keys() >= {"query", "took_ms", "hits", "indexing", "truncated"}
    fields = {"repo", "path", "start_line", "end_line", "language", "symbol", "score", "text", "revision", "url"}
    assert document["hits"][0].keys() >= fields
    assert document["hits"][0]["matches"] == [[1, 7, 18]]


def test_a_search_holds_the_barrier_until_it_has_its_texts(index):
    held = []
    get = index.blobs.get

    def slow(*arguments):
        held.append(index.searcher.barrier.wait(timeout_s=0.01))
        return get(*arguments)

    index.blobs.get = slow
    search(index, "RetryPolicy", limit=1)

    assert held == [False]
    assert index.searcher.barrier.wait(timeout_s=0)


def test_searches_in_many_threads_agree(index):
    expected = [search(index, "retry", mode=mode).hits for mode in Mode]
    failures = []

    def work():
        for mode, hits in zip(Mode, expected, strict=True):
            if search(index, "retry", mode=mode).hits != hits:
                failures.append(mode)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


def test_a_file_is_a_candidate_by_its_name_however_many_texts_fit_better(index):
    crowd = {f"src/part_{number}.py": "cache = eviction(cache)\n" * 3 for number in range(400)}
    index.add("crowd", {**crowd, "src/cache_eviction.py": "def run(store):\n    store.pop()\n"})

    assert search(index, "eviction of cache", repos=("crowd",)).hits[0].path == "src/cache_eviction.py"
