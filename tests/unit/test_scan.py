import gc
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.live import LiveFile, PackFiles
from services.api.lookup import WordLookup
from services.api.packtext import PackTexts, unpack_texts
from services.api.patterns import Literal, literal, regex
from services.api.scan import Sources, scan
from services.core.errors import CorruptData, InvalidRequest
from services.core.pack import Pack, write_pack
from tests.fakes_search import MemoryBlobs, chunk_file


def stored(files, lines=2):
    blobs = MemoryBlobs()
    name = blobs.put(write_pack([chunk_file(path, text, lines) for path, text in files.items()]))
    pack = Pack(blobs.data[name])
    live = [LiveFile(f.path, f.language, f.kind, f.size, name, f.first, f.count) for f in pack.files]
    return Sources(WordLookup(blobs), PackTexts(blobs)), [("r", PackFiles(tuple(live)))] if live else [], blobs


def anything(_file):
    return True


def find(files, pattern, *, best=100, lines=2):
    sources, packs, _ = stored(files, lines)
    return scan(sources, pattern, packs, anything, best=best, timeout_s=10)


def test_a_match_is_placed_by_line_and_column_in_characters():
    found = find({"a.txt": "one\ntwo\näö three three\n"}, literal("three"))

    assert [(hit.place.start_line, hit.place.end_line, hit.matches) for hit in found.hits] == [
        (3, 3, ((3, 4, 9), (3, 10, 15)))
    ]
    assert (found.matches, found.files, found.truncated) == (2, 1, False)


def test_a_match_across_a_chunk_border_counts_for_the_chunk_it_begins_in():
    found = find({"a.txt": "1\n2\n3\n4\n"}, literal("2\n3"))

    assert [(hit.place.ordinal, hit.matches) for hit in found.hits] == [(0, ((2, 1, 2),))]


def test_a_match_never_reaches_into_the_next_file():
    assert find({"a.txt": "abc", "b.txt": "def"}, literal("cd")).hits == []


def test_files_that_share_a_chunk_are_searched_as_they_are():
    files = {"a.txt": "1\n2\n3\n4\n", "b.txt": "0\n0\n1\n2\n3\n4\n", "c.txt": "1\n2\n1\n2\n"}

    assert {hit.file.path for hit in find(files, literal("2\n1")).hits} == {"c.txt"}
    assert {hit.file.path for hit in find(files, literal("0\n1")).hits} == {"b.txt"}


def test_exact_respects_case_and_regex_only_with_a_capital_letter():
    files = {"a.txt": "Foo\n", "b.txt": "foo\n"}

    assert len(find(files, literal("foo")).hits) == 1
    assert len(find(files, regex("fo+")).hits) == 2
    assert len(find(files, regex("Fo+")).hits) == 1
    assert len(find(files, regex(r"\bfo\w\S*")).hits) == 2
    assert len(find(files, regex(r"(?P<Name>fo+)[[:alpha:]]*")).hits) == 2


def test_anchors_are_ends_of_lines_and_a_dot_stops_there():
    found = find({"a.txt": "x = 1\ny = 2\nz = 3\n"}, regex("^y.*$"), lines=5)

    assert found.hits[0].matches == ((2, 1, 6),)


def test_an_expression_that_matches_nothing_visible_finds_nothing():
    assert find({"a.txt": "aaa\n"}, regex("b*")).hits == []


@pytest.mark.parametrize("expression", ["(", "[a", "a{2,1}", r"(?=x)", r"\1", "a**", "(?P<x", "x{5000}"])
def test_an_expression_re2_refuses_is_an_invalid_request_with_its_reason(expression):
    with pytest.raises(InvalidRequest, match="not a valid regular expression: ") as raised:
        regex(expression)

    assert "(?m)" not in str(raised.value)


def test_a_hostile_expression_takes_linear_time():
    assert find({"a.txt": "a" * 50_000 + "!\n"}, regex("(a+)+$")).hits == []


def test_the_definition_comes_first_then_code_before_tests():
    files = {
        "tests/test_a.py": "run()\n" * 9,
        "b.py": "run()\nrun()\n",
        "c.py": "def run():\n    pass\n",
    }

    assert [hit.file.path for hit in find(files, literal("run"), lines=20).hits] == ["c.py", "b.py", "tests/test_a.py"]


def test_the_best_are_kept_when_there_are_more():
    files = {f"{i:02}.py": "run()\n" for i in range(30)} | {"z.py": "def run():\n    pass\n"}
    found = find(files, literal("run"), best=3)

    assert [hit.file.path for hit in found.hits] == ["z.py", "00.py", "01.py"]
    assert (found.matches, found.files) == (31, 31)


def test_a_file_full_of_matches_is_cut_and_says_so():
    assert find({"a.txt": "x" * 5_000}, literal("x")).truncated


def test_a_scan_out_of_time_returns_what_it_has():
    sources, packs, _ = stored({"a.txt": "x\n"})
    found = scan(sources, literal("x"), packs, anything, best=5, timeout_s=0)

    assert found.truncated
    assert len(found.hits) == 1


def test_a_damaged_pack_is_told_and_the_others_are_searched():
    sources, packs, blobs = stored({"a.txt": "x\n"})
    _, more, other_blobs = stored({"b.txt": "x\n"})
    blobs.data |= other_blobs.data
    blobs.damage(packs[0][1].files[0].pack)

    found = scan(sources, literal("x"), packs + more, anything, best=5, timeout_s=10)

    assert found.damaged == [packs[0][1].files[0].pack]
    assert [hit.file.path for hit in found.hits] == ["b.txt"]


def test_a_pack_cut_short_is_refused():
    data = write_pack([chunk_file("a.txt", "x\n" * 50)])

    with pytest.raises(CorruptData):
        unpack_texts(data[:-30], "p")


TEXTS = st.text("ab\n", max_size=40)


def test_the_cycle_collector_rests_during_a_scan_and_works_again_after_it():
    class Watched(Literal):
        def spans(self, text):
            seen.append(gc.isenabled())
            return Literal.spans(self, text)

    seen = []
    find({"a.txt": "x\n"}, Watched(b"x"))

    assert seen == [False]
    assert gc.isenabled()


def test_the_cycle_collector_works_again_after_a_scan_that_failed():
    class Broken(Literal):
        def spans(self, text):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        find({"a.txt": "x\n"}, Broken(b"x"))

    assert gc.isenabled()


@given(
    st.dictionaries(st.sampled_from(["a.txt", "b.txt", "c.txt"]), TEXTS, max_size=3),
    st.text("ab\n", min_size=1, max_size=3),
)
def test_a_scan_finds_exactly_what_a_plain_search_of_the_files_finds(files, needle):
    found = find(files, literal(needle), lines=1)

    expected = sum(len(re.findall(re.escape(needle), text)) for text in files.values())
    assert found.matches == expected == sum(len(hit.matches) for hit in found.hits)
    for hit in found.hits:
        for line, first, _ in hit.matches:
            text = files[hit.file.path].split("\n")
            assert "\n".join(text[line - 1 :])[first - 1 :].startswith(needle)
