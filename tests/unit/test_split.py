import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chunker.grammars import GRAMMARS
from services.chunker.lines import GOAL_BYTES, MAX_BYTES, MIN_BYTES
from services.chunker.sections import SECTIONS
from services.chunker.split import split
from services.core.model import ParseNote
from tests.unit.split_samples import SAMPLES

HARD_BYTES = 2700
LANGUAGES = [*sorted(GRAMMARS), *sorted(SECTIONS), "json", "xml", "text", "unheard-of"]
# What confuses parsers, or looks like a line end and is none.
ODDITIES = [
    "\0",
    "\r",
    "\r\n",
    "\ufeff",
    "\u202e",
    "\u2028",
    "é",
    "😀",
    "{",
    "}",
    "(",
    '"',
    '"""',
    "`",
    "/*",
    "#",
    "\n\n\n",
    "\t",
]


def check(text: bytes, chunks) -> None:
    """Compare chunks with a naive reading of the text."""
    assert b"".join(text[chunk.start_byte : chunk.end_byte] for chunk in chunks) == text
    end = 0
    for chunk in chunks:
        assert chunk.start_byte == end < chunk.end_byte
        end = chunk.end_byte
        text[chunk.start_byte : chunk.end_byte].decode()
        assert chunk.start_line == len(text[: chunk.start_byte].split(b"\n"))
        body = text[:end].removesuffix(b"\n") if text[chunk.start_byte : end].endswith(b"\n") else text[:end]
        assert chunk.end_line == max(chunk.start_line, len(body.split(b"\n")))
        assert chunk.end_byte - chunk.start_byte <= HARD_BYTES
    assert end == len(text)


def pieces(text: bytes, language: str) -> list[bytes]:
    return [text[chunk.start_byte : chunk.end_byte] for chunk in split(text, language).chunks]


code = st.lists(
    st.one_of(
        st.sampled_from([sample.text for sample in SAMPLES.values()]),
        st.sampled_from([line + "\n" for sample in SAMPLES.values() for line in sample.text.splitlines()]),
        st.sampled_from(ODDITIES),
        st.text(max_size=20),
        st.builds(
            lambda piece, times: piece * times, st.sampled_from([*ODDITIES, "x = 1\n", "word "]), st.integers(1, 900)
        ),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(text=code, language=st.sampled_from(LANGUAGES), parse=st.booleans())
def test_chunks_tile_any_text_and_their_lines_are_right(text, language, parse):
    raw = text.encode("utf-8", "ignore")

    check(raw, split(raw, language, parse=parse).chunks)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), language=st.sampled_from(sorted(SAMPLES)))
def test_chunks_tile_code_with_a_hole(data, language):
    text = SAMPLES[language].text * 4
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    raw = (text[:start] + data.draw(st.sampled_from(ODDITIES)) + text[end:]).encode()

    check(raw, split(raw, language).chunks)


@pytest.mark.parametrize("language", ["python", "c", "markdown", "text"])
@pytest.mark.parametrize(
    "text",
    [
        b"\n",
        b"\r",
        b"\0",
        b"\n" * 5000,
        b"\r" * 5000,
        b"\r\n" * 5000,
        b"\0" * 5000,
        b" " * 5000,
        b"x",
        b"x" * 5000,
        "é".encode() * 5000,
        "😀".encode() * 5000,
        b"\xef\xbb\xbfdef f(): pass\n",
        "a = '\u202e'\n".encode() * 500,
    ],
    ids=lambda text: f"{text[:4]!r}x{len(text)}",
)
def test_odd_texts_are_tiled(text, language):
    check(text, split(text, language).chunks)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_empty_text_has_no_chunks(language):
    assert split(b"", language).chunks == ()


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_deep_nesting_is_cut_by_lines_and_says_so(language):
    text = b"x = " + b"(" * 100_000 + b")" * 100_000 + b"\n"

    result = split(text, language)

    check(text, result.chunks)
    assert result.note == ParseNote.TOO_DEEP


def test_many_shallow_brackets_are_parsed():
    text = b"def f():\n    return g(1, [2], {3})\n\n\n" * 1000

    assert split(text, "python").note == ""
    assert split(text, "python").chunks[0].symbol == "f"


def test_without_parsing_there_are_lines_but_no_symbols():
    chunks = split(SAMPLES["python"].text.encode() * 9, "python", parse=False).chunks

    assert len(chunks) > 1
    assert {(chunk.symbol, chunk.defines) for chunk in chunks} == {("", ())}


@pytest.mark.parametrize("language", ["python", "javascript", "json", "text"])
def test_a_long_line_is_cut_inside(language):
    text = b"x = [" + b"1, " * 100_000 + b"]\n"

    chunks = split(text, language).chunks

    check(text, chunks)
    assert {chunk.start_line for chunk in chunks} == {1}


def test_small_neighbours_share_a_chunk_and_none_is_tiny():
    text = b"".join(b"def f%d(x):\n    return x + %d\n\n\n" % (number, number) for number in range(200))

    sizes = [len(piece) for piece in pieces(text, "python")]

    assert min(sizes) >= MIN_BYTES
    assert 0.8 * GOAL_BYTES <= sum(sizes) / len(sizes) <= 1.2 * GOAL_BYTES


@pytest.mark.parametrize(
    ("language", "before", "head", "line", "close"),
    [
        ("python", "# Why.\n@cache\n@retry(3)\n", "def target(x):\n", "    x += 1\n", "    return x\n\n\n"),
        ("c", "/* Why. */\n", "static int target(int x)\n{\n", "\tx += 1;\n", "\treturn x;\n}\n\n"),
        ("rust", "/// Why.\n#[inline]\n", "fn target(x: i32) -> i32 {\n", "    let x = x + 1;\n", "    x\n}\n\n"),
        ("java", "/** Why. */\n@Test\n", "class Target {\n", "  int a = 1;\n", "}\n\n"),
        ("typescript", "// Why.\n@Component({})\n", "export class Target {\n", "  a = 1;\n", "}\n\n"),
        ("go", "// Why.\n", "func target(x int) int {\n", "\tx += 1\n", "\treturn x\n}\n\n"),
        ("ruby", "# Why.\n", "def target(x)\n", "  x += 1\n", "end\n\n"),
    ],
)
def test_comments_and_decorators_stay_with_what_they_explain(language, before, head, line, close):
    body = line * (GOAL_BYTES // len(line))
    one = before + head + body + close

    found = pieces((one * 4).encode(), language)

    assert found == [one.encode()] * 4


def test_symbol_of_a_divided_function_is_its_name_in_every_piece():
    body = "".join(f"        value_{number} = compute({number})\n" for number in range(170))
    text = f"class Cart:\n    def add(self):\n{body}\n    def other(self):\n        pass\n"

    chunks = split(text.encode(), "python").chunks

    assert {chunk.symbol for chunk in chunks[1:-1]} == {"Cart.add"}
    assert len(chunks) > 3


def test_pieces_of_a_divided_class_are_its_methods():
    methods = [f"    def m{number}(self):\n" + "        x = 1\n" * 80 + "\n" for number in range(5)]
    text = "class Cart:\n" + "".join(methods)

    chunks = split(text.encode(), "python").chunks

    assert [chunk.symbol for chunk in chunks[1:]] == ["Cart.m1", "Cart.m2", "Cart.m3", "Cart.m4"]
    assert all(len(piece) <= MAX_BYTES for piece in pieces(text.encode(), "python"))


def test_a_closing_brace_is_no_chunk_of_its_own():
    method = "  void m() {\n" + "    int x = 1;\n" * 130 + "  }\n"
    text = "class Cart {\n" + method * 3 + "}\n"

    assert all(len(piece) >= MIN_BYTES for piece in pieces(text.encode(), "java"))


def test_markdown_is_cut_at_headings_and_symbols_are_their_path():
    sections = "".join(f"## Part {number}\n\n" + "Some words here.\n" * 70 for number in range(3))
    text = "# Guide\n\n" + "Intro.\n" * 160 + "\n```\n# no heading\n```\n\n" + sections

    chunks = split(text.encode(), "markdown").chunks

    assert [chunk.symbol for chunk in chunks] == ["Guide", "Guide > Part 0", "Guide > Part 1", "Guide > Part 2"]


def test_json_is_cut_where_it_is_least_indented():
    entry = '  {\n    "name": "x",\n' + '    "value": 1,\n' * 52 + '    "end": 0\n  },\n'
    text = "[\n" + entry * 10 + "]\n"

    starts = [piece[:4] for piece in pieces(text.encode(), "json")[1:]]

    assert set(starts) == {b"  {\n"}


def test_a_comment_apart_by_one_blank_line_stays_with_its_function():
    body = "  x += 1;\n" * 120
    one = "/**\n * Why.\n */\n\nexports.target = function (x) {\n" + body + "};\n\n"

    assert pieces((one * 4).encode(), "javascript") == [one.encode()] * 4


@pytest.mark.parametrize("language", ["scala", "haskell"])
def test_comments_where_indentation_ends_a_definition_belong_to_the_next(language):
    one = {
        "scala": "  /** Why. */\n  def target =\n" + "    f(1)\n" * 155 + "\n",
        "haskell": "-- | Why.\ntarget x = do\n" + "  print x\n" * 145 + "\n",
    }[language]
    head = {"scala": "object A {\n", "haskell": "module A where\n"}[language]

    assert pieces((head + one * 4).encode(), language)[1:] == [one.encode()] * 3


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", b"x = (" + b'"a" +\n' * 5000 + b'"b")\n'),
        ("javascript", b"x = " + b'"a" +\n' * 5000 + b'"b";\n'),
        ("c", b"void f() {\n" + b"if (a) { b(); }\nelse " * 5000 + b"{} }\n"),
        ("c", b"#if A\n" * 3000 + b"#endif\n" * 3000),
        ("html", b"<div>\n" * 900 + b"</div>\n" * 900),
        ("python", b"".join(b" " * depth + b"if x:\n" for depth in range(400)) + b" " * 400 + b"pass\n"),
    ],
    ids=["sum", "sum-js", "else-if", "preprocessor", "elements", "blocks"],
)
def test_deep_trees_without_brackets_are_walked_without_recursion(language, text):
    check(text, split(text, language).chunks)


@pytest.mark.parametrize(
    "text", [b"\n" * 300_000, b"a=1\n" * 75_000, b"# a\n" * 50_000], ids=["blank", "lines", "heads"]
)
@pytest.mark.parametrize("language", ["json", "markdown", "python"])
def test_hundreds_of_thousands_of_lines_make_a_bounded_number_of_chunks(language, text):
    chunks = split(text, language).chunks

    assert chunks[-1].end_line == text.count(b"\n")
    assert len(text) / HARD_BYTES <= len(chunks) <= len(text) / MIN_BYTES
