import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.paths import path_words
from services.api.query import last_name, qualified, understand
from services.api.ranking import Candidate, kind_weight, only_passes_on, rank
from services.api.weights import BOOSTS, FACTORS
from services.api.words import stem
from tests.unit.ranking_samples import chunk


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


def test_words_of_the_query_in_the_path_lift_a_file():
    assert ranked("password hashing", chunk("src/views.py"), chunk("src/auth/hashers.py"))[0] == "src/auth/hashers.py"


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


def test_further_chunks_of_a_file_make_room_for_other_files():
    hits = ranked(
        "x", *(Candidate(chunk("a.py", ordinal=i), 1 - i / 100) for i in range(3)), Candidate(chunk("b.py"), 0.9)
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


def test_a_port_or_an_older_version_ranks_below_its_twin():
    assert ranked("open a file", chunk("src/win/fs.c"), chunk("src/unix/zfs.c"))[0] == "src/unix/zfs.c"
    assert ranked("error types", chunk("v3/errors.ts"), chunk("v4/errors.ts"))[0] == "v4/errors.ts"


def test_naming_the_repository_prefers_it_only_among_several():
    flask, other = chunk("a.py", repo="pallets/flask"), chunk("b.py", repo="django")

    assert ranked("flask blueprints", other, flask, repos=2)[0] == "a.py"
    assert ranked("flask blueprints", Candidate(other, 0.6), flask)[0] == "b.py"


def test_several_hits_in_one_file_lift_it():
    several = [Candidate(chunk("b.py"), 0.5), Candidate(chunk("b.py", ordinal=1), 0.4)]

    assert ranked("x", Candidate(chunk("a.py"), 0.55), *several)[0] == "b.py"


def test_what_each_rule_did_can_be_told():
    hit = rank(understand("Foo"), [Candidate(chunk("foo.py", defines=["Foo"], kind="test"), 1.0)])[0]

    assert hit.rules["defines"] > 0
    assert hit.rules["kind"] < 1
    assert hit.score == pytest.approx(
        sum(hit.rules[rule] for rule in ("fused", *BOOSTS)) * math.prod(hit.rules[rule] for rule in FACTORS)
    )


def test_no_candidates_give_no_hits():
    assert rank(understand("x"), []) == []


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("how to install", True),
        ("what's new in version 5", True),
        ("frequently asked questions", True),
        ("release notes of 6.4", True),
        ("guide to authentication", True),
        ("how nvm installs a version", False),
        ("installation of signal handlers", False),
        ("deploy command", False),
    ],
)
def test_questions_for_prose_ask_for_docs_and_others_do_not(text, asks):
    assert ("docs" in understand(text).asks_for) is asks


def test_a_kind_that_is_asked_for_beats_code_that_scores_the_same():
    assert ranked("guide to x", chunk("a.py"), chunk("b.md", kind="docs"))[0] == "b.md"
    assert ranked("x", chunk("b.md", kind="docs"), chunk("z.py"))[0] == "z.py"
