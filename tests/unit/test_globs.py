import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.api.globs import compile_glob
from services.core.errors import InvalidRequest
from services.core.payload import extension

FITS = [
    ("*.py", ["a.py", "src/deep/a.py"], ["a.pyx", "a.py.txt", ".py"]),
    ("src/*.py", ["src/a.py"], ["src/x/a.py", "lib/src/a.py", "a.py"]),
    ("src/**", ["src/a", "src/x/y.c"], ["src", "lib/src/a"]),
    ("src/", ["src/a", "src/x/y.c"], ["lib/src/a"]),
    ("**/test_*", ["test_a.py", "x/y/test_b"], ["x/a_test"]),
    ("src/**/*.ts", ["src/a.ts", "src/x/y/a.ts"], ["a.ts", "src/a.tsx"]),
    ("{src,lib}/**/*.{js,ts}", ["src/a.js", "lib/x/b.ts"], ["app/a.js", "src/a.css"]),
    ("core/app", ["core/app", "core/app/x.py"], ["core/apple", "x/core/app"]),
    ("Makefile", ["Makefile", "sub/Makefile", "Makefile/x"], ["makefile", "Makefile.in"]),
    ("/setup.py", ["setup.py"], []),
    ("./docs/*.md", ["docs/a.md"], ["x/docs/a.md"]),
    ("a?c", ["abc", "x/a-c"], ["ac", "a/c"]),
    ("[a-c]x", ["ax", "d/cx"], ["dx"]),
    ("[!a-c]x", ["dx"], ["ax", "/x"]),
    (r"a\*", ["a*"], ["ab"]),
    ("x/**/y", ["x/y", "x/a/b/y"], ["x/ay"]),
    ("ä*.py", ["äb.py"], ["ab.py"]),
    ("*\n*", ["a\nb"], ["ab"]),
]


@pytest.mark.parametrize(("glob", "fitting", "others"), FITS, ids=[row[0] for row in FITS])
def test_a_glob_fits_what_its_syntax_says(glob, fitting, others):
    compiled = compile_glob(glob)

    assert compiled.select(fitting + others) == fitting


@pytest.mark.parametrize("glob", ["[a", "a{b", "!x", "{a,b}{c,d}{e,f}{g,h}{i,j}{k,l}{m,n}{o,p}", "[z-a]"])
def test_a_glob_that_is_none_is_refused(glob):
    with pytest.raises(InvalidRequest):
        compile_glob(glob)


def test_many_stars_are_matched_in_linear_time():
    assert not compile_glob("*a" * 200 + "/b").matches("a" * 5_000)


@pytest.mark.parametrize(
    ("glob", "prefixes", "extensions", "exact"),
    [
        ("src/**", ("src/",), (), True),
        ("src/", ("src/",), (), True),
        ("*.py", (), ("py",), True),
        ("**/*.py", (), ("py",), True),
        ("src/**/*.py", ("src/",), ("py",), True),
        ("{a,b}/**/*.{js,ts}", ("a/", "b/"), ("js", "ts"), True),
        ("{a/**/*.js,b/**/*.ts}", ("a/", "b/"), ("js", "ts"), False),
        ("src/*.py", ("src/",), ("py",), False),
        ("*.test.ts", (), ("ts",), False),
        ("src/app", ("src/",), (), False),
        ("**", (), (), True),
    ],
)
def test_bounds_are_as_tight_as_the_store_can_take_them(glob, prefixes, extensions, exact):
    compiled = compile_glob(glob)

    assert (compiled.prefixes, compiled.extensions, compiled.exact) == (prefixes, extensions, exact)


NAMES = st.text("abA._", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PART = st.text("abA._*?", min_size=1, max_size=4).filter(lambda part: "**" not in part and part not in (".", ".."))
GLOBS = st.lists(st.one_of(PART, st.just("**")), min_size=1, max_size=4).map("/".join)


@given(GLOBS, PATHS)
@example("*.a", "b/x.A")
@example("**/*.a", ".a")
def test_a_glob_agrees_with_a_naive_matcher_and_its_bounds_never_exclude_what_fits(glob, path):
    compiled = compile_glob(glob)
    bounded = (not compiled.prefixes or path.startswith(compiled.prefixes)) and (
        not compiled.extensions or extension(path) in compiled.extensions
    )

    assert compiled.matches(path) == naive(glob, path)
    assert bounded or not compiled.matches(path)
    if compiled.exact and bounded and not compiled.matches(path):
        assert extension(path) != path.rpartition(".")[2]  # only other case


def naive(glob, path):
    """The rules of the module's docstring, by recursion."""
    parts = glob.split("/")
    if "/" not in glob:
        parts = ["**", *parts]
    return fits(parts, path.split("/"), literal=not set("*?") & set(parts[-1]))


def fits(parts, names, *, literal):
    if not parts:
        return False
    if len(parts) == 1 and parts[0] == "**":
        return bool(names)
    if parts[0] == "**":
        return fits(parts[1:], names, literal=literal) or (bool(names) and fits(parts, names[1:], literal=literal))
    if not names or not part_fits(parts[0], names[0], first=True):
        return False
    if len(parts) == 1:
        return len(names) == 1 or literal
    return fits(parts[1:], names[1:], literal=literal)


def part_fits(part, name, *, first):
    if not part:
        return not name
    if part[0] == "*":
        least = 1 if first and part[1:2] == "." else 0
        return any(part_fits(part[1:], name[i:], first=False) for i in range(least, len(name) + 1))
    return bool(name) and part[0] in ("?", name[0]) and part_fits(part[1:], name[1:], first=False)
