import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from services.api.highlight import highlight, mark_matches, mark_nothing, mark_words, visible
from services.api.query import understand

TAG = re.compile(r"<[^>]+>")


def bare(html):
    return TAG.sub("", html)


def test_code_is_coloured_by_class_never_by_style():
    (line,) = highlight("def f(): pass", "python", mark_nothing)

    assert '<span class="k">def</span>' in line
    assert "style" not in line


def test_hostile_code_is_escaped():
    for language in ("html", "python", "javascript", "unheard-of"):
        (line,) = highlight('<script>alert("x")</script>', language, mark_nothing)
        assert "<script" not in line


def test_words_of_the_query_are_marked_within_identifiers():
    (line,) = highlight("getUserNames(parsed_json)", "python", mark_words(understand("parse user name").words))

    assert re.findall("<mark>(.*?)</mark>", line) == ["User", "Names", "parsed"]


def test_matches_are_marked_across_tokens_and_only_on_their_line():
    lines = highlight("a = 1\nclass Foo:\n", "python", mark_matches([(11, 1, 10)], first_line=10))

    assert "<mark>" not in lines[0]
    assert "".join(re.findall("<mark>(.*?)</mark>", lines[1])) == "class Foo"


def test_characters_that_hide_or_reorder_text_are_written_out():
    (line,) = highlight("x = 'a\u202e\u2066b\u200b'", "python", mark_nothing)

    assert all(f"U+{code}" in line for code in ("202E", "2066", "200B"))
    assert not {"\u202e", "\u2066", "\u200b"} & set(line)
    assert "U+001B" in visible("\x1b[31m")


def test_lines_keep_their_number_whatever_ends_them():
    assert len(highlight("a\nb\r\n\nc", "python", mark_nothing)) == 4
    assert highlight("", "python", mark_nothing) == []


def test_a_very_long_line_is_cut_and_says_so():
    (line,) = highlight("x" * 50_000, "text", mark_nothing)

    assert len(line) < 6_000
    assert "line cut" in line


def test_a_php_chunk_from_the_middle_of_a_file_is_coloured():
    (line,) = highlight("function run() {}", "php", mark_nothing)

    assert '<span class="k">function</span>' in line


@pytest.mark.parametrize("language", ["python", "typescript", "html", "markdown", "rust", "php", "yaml", "text", "vue"])
@given(
    text=st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp", "Mn", "Cf"]) | st.just("\n"), max_size=60
    )
)
def test_what_is_shown_is_the_text(language, text):
    if any(ord(char) in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0) for char in text):
        return
    lines = highlight(text, language, mark_words(["a", "function"]))

    assert "\n".join(bare(line) for line in lines) == str(escape(text.removesuffix("\n"))).replace(
        "&#34;", "&quot;"
    ).replace("&#39;", "&#x27;")
