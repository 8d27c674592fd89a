import pytest

from services.api.aside import is_aside, is_declaration, is_older, is_platform, siblings, tokens


@pytest.mark.parametrize(
    ("path", "query", "aside"),
    [
        ("src/legacy/http.py", "http client", True),
        ("Sources/Deprecations/Client.swift", "http client", True),
        ("lib/compatHttp.js", "http client", True),
        ("benchmarks/http.py", "http client", True),
        ("src/http.py", "http client", False),
        ("src/golden/holder.py", "http client", False),
        ("src/legacy/http.py", "legacy http client", False),
        ("benchmarks/http.py", "http benchmark", False),
    ],
)
def test_what_is_deprecated_or_a_benchmark_is_aside_unless_named(path, query, aside):
    assert is_aside(path, tokens(query)) is aside


@pytest.mark.parametrize(
    ("path", "query", "port"),
    [
        ("src/win/fs.c", "open a file", True),
        ("os/file_windows.go", "open a file", True),
        ("src/unix/fs.c", "open a file", False),
        ("src/window.c", "open a file", False),
        ("src/win/fs.c", "open a file on Windows", False),
    ],
)
def test_a_port_is_one_unless_a_platform_is_named(path, query, port):
    assert is_platform(path, tokens(query)) is port


@pytest.mark.parametrize(
    ("path", "others", "query", "older"),
    [
        ("pkg/v3/types.ts", ["pkg/v4/core.ts"], "types", True),
        ("pkg/v4/core.ts", ["pkg/v3/types.ts"], "types", False),
        ("pkg/v3/types.ts", ["other/v4/core.ts"], "types", False),
        ("pkg/v3/types.ts", [], "types", False),
        ("pkg/v3/types.ts", ["pkg/v4/core.ts"], "v3 types", False),
        ("v9/types.ts", ["v10/types.ts"], "types", True),
    ],
)
def test_a_version_is_older_where_a_newer_one_stands_beside_it(path, others, query, older):
    beside = siblings(("r", each) for each in [path, *others])

    assert is_older(("r", path), beside, tokens(query)) is older


@pytest.mark.parametrize(
    ("path", "other", "declaration"),
    [
        ("src/idna.h", "src/idna.c", True),
        ("include/a/list.hpp", "src/list.cpp", True),
        ("types/reply.d.ts", "lib/reply.js", True),
        ("pkg/_core.pyi", "pkg/_core.py", True),
        ("src/idna.c", "src/idna.h", False),
        ("src/idna.h", "src/core.c", False),
        ("lib/reply.js", "types/reply.d.ts", False),
        ("Makefile", "README", False),
    ],
)
def test_a_declaration_is_one_where_its_implementation_is_a_candidate(path, other, declaration):
    assert is_declaration(("r", path), siblings([("r", path), ("r", other)])) is declaration


def test_twins_are_looked_for_in_the_same_repository():
    beside = siblings([("r", "v1/a.h"), ("s", "v2/a.c")])

    assert not is_declaration(("r", "v1/a.h"), beside)
    assert not is_older(("r", "v1/a.h"), beside, frozenset())
