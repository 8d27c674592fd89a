import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.paths import path_words
from services.api.query import last_name, qualified, understand
from services.api.ranking import (
    Candidate,
    coherence,
    coverage,
    definition_boost,
    kind_weight,
    name_boost,
    only_passes_on,
    path_boost,
    rank,
    repo_boost,
    subject_boost,
    word_rarity,
)
from services.api.words import stem
from services.core.pack import TextSpan
from services.core.payload import StoredChunk


def chunk(path="src/a.py", *, repo="r", kind="code", symbol="", defines=(), ordinal=0):
    span = TextSpan(0, 1, 1, "")
    return StoredChunk(repo, path, "python", kind, symbol, tuple(defines), 1, 9, 0, 9, ordinal, "p", span)


def ranked(query, *chunks, repos=1):
    candidates = [c if isinstance(c, Candidate) else Candidate(c, 0.5) for c in chunks]
    return [hit.chunk.path for hit in rank(understand(query), candidates, repos_in_scope=repos)]


@pytest.mark.parametrize(
    ("text", "symbol", "names"),
    [
        ("RetryPolicy", True, ("RetryPolicy",)),
        ("read_file", True, ("read_file",)),
        ("Server::run()", True, ("run",)),
        ("json.loads", True, ("loads",)),
        ("Foo\\Bar", True, ("Bar",)),
        ("_private", True, ("_private",)),
        ("session", False, ("session",)),
        ("how does RetryPolicy back off", False, ("RetryPolicy",)),
        ("call parse_args() and os.path.join", False, ("parse_args", "join")),
        ("where are passwords hashed", False, ()),
        ("🦀", False, ()),
        ("the of", False, ()),
    ],
)
def test_a_query_is_told_apart_into_identifier_and_words(text, symbol, names):
    query = understand(text)

    assert (query.symbol, query.names) == (symbol, names)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("parse parses parsing parser parsers", 1),
        ("utility utilities util utils", 1),
        ("impl implementation implement implements", 1),
        ("config configuration cfg configure configures", 1),
        ("run running runner runs", 1),
        ("class classes", 1),
        ("cache caches cached caching", 1),
        ("pass password", 2),
        ("state status", 2),
        ("user use", 2),
    ],
)
def test_forms_of_one_word_share_a_stem_and_others_do_not(words, count):
    assert len({stem(word) for word in words.split()}) == count


def test_a_qualified_name_is_read_in_every_notation():
    assert {qualified(text) for text in ("a.b.c", "a::b::c()", "a->b->c", "a\\b\\c", "a#b.c")} == {"a.b.c"}
    assert last_name("std::vector") == "vector"


def test_the_definition_beats_chunks_that_only_mention_the_name():
    assert ranked(
        "RetryPolicy", Candidate(chunk("use.py"), 1.0), Candidate(chunk("x.py", defines=["RetryPolicy"]), 0.1)
    ) == [
        "x.py",
        "use.py",
    ]


def test_a_definition_in_the_file_of_that_name_is_its_home():
    query = understand("RetryPolicy")
    home, elsewhere = (chunk(path, defines=["RetryPolicy"]) for path in ("retry_policy.py", "stubs.py"))

    assert definition_boost(query, home, path_words(home.path)) > definition_boost(
        query, elsewhere, path_words(elsewhere.path)
    )


def test_other_case_and_names_within_words_count_less():
    exact, other = chunk(defines=["readFile"]), chunk(defines=["ReadFile"])
    path = path_words("src/a.py")

    alone = definition_boost(understand("readFile"), exact, path)

    assert alone > definition_boost(understand("readFile"), other, path) > 0
    assert alone > definition_boost(understand("what does readFile return"), exact, path) > 0


def test_words_of_the_query_in_the_path_lift_a_file():
    assert ranked("password hashing", chunk("src/views.py"), chunk("src/auth/hashers.py"))[0] == "src/auth/hashers.py"


def test_short_forms_and_joined_words_match_paths():
    assert coverage(stem("configuration"), path_words("src/config.py")) == 1.0
    assert path_boost(understand("rate limiter"), path_words("ratelimiter.go"), {"rate": 1.0, "limit": 1.0}) > 0
    assert path_boost(understand("ratelimiter"), path_words("rate_limiter.go"), {stem("ratelimiter"): 1.0}) > 0


def test_a_folder_stands_for_its_index_file():
    assert (
        coverage("handl", path_words("src/handler/mod.rs")) == 1.0 > coverage("handl", path_words("src/handler/x.rs"))
    )


def test_a_word_that_every_path_has_counts_less_than_a_rare_one():
    rarity = word_rarity(("app", "auth"), ["app/a.py", "app/b.py", "app/auth.py"])

    assert rarity["auth"] > rarity["app"] > 0


def test_words_of_the_query_in_defined_names_lift_a_chunk():
    assert name_boost(understand("load user settings"), chunk(defines=["load_settings"])) > 0
    assert name_boost(understand("LoadSettings"), chunk(defines=["load_settings"])) == 0


@pytest.mark.parametrize("kind", ["test", "docs", "config", "example", "generated", "vendored"])
def test_kinds_other_than_code_rank_lower_unless_asked_for(kind):
    words = {"docs": "documentation", "config": "yaml", "example": "examples"}

    assert kind_weight(understand("parser"), kind) < 1 == kind_weight(understand("parser"), "code")
    assert kind_weight(understand(f"parser {words.get(kind, kind)}"), kind) == 1


def test_a_part_of_an_index_file_that_defines_nothing_ranks_lower():
    path = path_words("pkg/__init__.py")

    assert only_passes_on(chunk("pkg/__init__.py"), path)
    assert not only_passes_on(chunk("pkg/__init__.py", defines=["parse"]), path)
    assert not only_passes_on(chunk("pkg/parser.py"), path_words("pkg/parser.py"))
    assert ranked("x", chunk("a/__init__.py"), chunk("b/y.py")) == ["b/y.py", "a/__init__.py"]


def test_a_file_whose_whole_name_the_query_says_beats_one_with_more_to_its_name():
    rarity = dict.fromkeys(understand("response headers").words, 1.0)

    def boost(path):
        return subject_boost(understand("response headers"), path_words(path), rarity)

    assert (
        boost("http/response.py")
        == boost("http/response/index.ts")
        > boost("http/response_cache.py")
        > boost("http/x.py")
    )


def test_naming_the_repository_prefers_it_only_among_several():
    flask, other = chunk("a.py", repo="pallets/flask"), chunk("b.py", repo="django")

    assert repo_boost(understand("flask blueprints"), "pallets/flask") > 0 == repo_boost(understand("flask"), "django")
    assert repo_boost(understand("send a request"), "psf/requests") == 0
    assert repo_boost(understand("lazy nvim plugins"), "lazy.nvim") > 0
    assert ranked("flask blueprints", other, flask, repos=2)[0] == "a.py"
    assert ranked("flask blueprints", Candidate(other, 0.6), flask)[0] == "b.py"


def test_several_hits_in_one_file_lift_its_best_one():
    boosts = coherence(
        [Candidate(chunk("a.py"), 0.5), Candidate(chunk("b.py"), 0.5), Candidate(chunk("b.py", ordinal=1), 0.4)]
    )

    assert boosts["r", "b.py", 0] > boosts["r", "a.py", 0]
    assert ("r", "b.py", 1) not in boosts


def test_further_chunks_of_a_file_make_room_for_other_files():
    hits = ranked(
        "x", *(Candidate(chunk("a.py", ordinal=i), 1 - i / 100) for i in range(3)), Candidate(chunk("b.py"), 0.7)
    )

    assert hits[:2] == ["a.py", "b.py"]


@given(st.permutations(range(12)), st.integers(0, 3))
def test_the_order_does_not_depend_on_the_order_of_candidates(order, spread):
    candidates = [
        Candidate(chunk(f"{i % 4}.py", ordinal=i, repo="ab"[i % 2]), 1 - (i % (spread + 1)) / 9) for i in range(12)
    ]

    def ranking(each):
        return [(h.chunk.repo, h.chunk.path, h.chunk.ordinal, h.score) for h in rank(understand("a b"), each)]

    assert ranking([candidates[i] for i in order]) == ranking(candidates)


def test_what_each_rule_did_can_be_told():
    hit = rank(understand("Foo"), [Candidate(chunk("foo.py", defines=["Foo"], kind="test"), 1.0)])[0]

    assert hit.rules["defines"] > 0
    assert hit.rules["kind"] < 1
    assert hit.score == pytest.approx(
        sum(hit.rules[r] for r in ("fused", "defines", "path", "subject", "name", "coherence")) * hit.rules["kind"]
    )


def test_no_candidates_give_no_hits():
    assert rank(understand("x"), []) == []
