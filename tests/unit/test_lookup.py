import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.live import LiveFile, PackFiles
from services.api.lookup import WordLookup
from services.api.packtext import PackTexts
from services.api.patterns import literal, regex
from services.api.scan import Sources, scan
from services.core.pack import Pack, write_pack
from services.core.ports import SparseRows
from services.core.texts import Texts
from services.core.vector_blob import VectorBlob, read_places, read_words
from services.core.word_index import index_words
from tests.fakes_search import MemoryBlobs, chunk_file


def stored(files, lines=2, *, with_words=True):
    """A pack of `files` with its words, as the embedder stores them."""
    blobs = MemoryBlobs()
    name = blobs.put(write_pack([chunk_file(path, text, lines) for path, text in files.items()]))
    pack = Pack(blobs.data[name])
    texts = Texts([text.decode() for text in pack.texts()])
    parts = [part.pack() for part in index_words(texts, [file.first for file in pack.files])] if with_words else []
    rows = SparseRows(np.zeros(len(texts) + 1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32))
    vectors = blobs.put(VectorBlob("m", np.ones((len(texts), 2), np.float32), rows, *parts).pack())
    live = [LiveFile(f.path, f.language, f.kind, f.size, name, f.first, f.count, vectors) for f in pack.files]
    return blobs, live


def may_match(files, pattern, **how):
    blobs, live = stored(files, **how)
    return [file.path for file in WordLookup(blobs).may_match(pattern, PackFiles(tuple(live)))]


FILES = {
    "a.py": "def read_file(path):\n    pass\n",
    "b.py": "def write_file(path):\n    pass\nread_all()\n",
    "c.txt": "Read the manual.\n",
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (literal("read_"), ["a.py", "b.py"]),
        (literal("read_file("), ["a.py"]),
        (literal("e_file(path)"), ["b.py"]),
        (literal("path):\n    pass\nread_all"), ["b.py"]),
        (literal("nowhere"), []),
        (literal("):"), ["a.py", "b.py", "c.txt"]),
        (regex("read"), ["a.py", "b.py", "c.txt"]),
        (regex("Read|write_[a-z]+"), ["b.py", "c.txt"]),
    ],
)
def test_only_files_with_the_words_may_match(pattern, expected):
    assert may_match(FILES, pattern) == expected


def test_a_word_that_two_chunks_share_rules_nothing_out():
    assert may_match({"a.txt": "x" * 40, "b.txt": "y\n"}, literal("xxxyxxx"), lines=1) == []
    blobs, live = stored({"a.txt": "begin", "b.txt": "y\n"})
    halves = [part.pack() for part in index_words(Texts(["beg", "in"]), (0,))]
    vectors = blobs.put(VectorBlob("m", np.ones((2, 2), np.float32), _no_terms(2), *halves).pack())
    torn = [LiveFile("a.txt", "text", "docs", 5, live[0].pack, 0, 2, vectors)]

    assert WordLookup(blobs).may_match(literal("begin"), PackFiles(tuple(torn))) == torn


def test_without_words_every_file_may_match():
    assert may_match(FILES, literal("nowhere"), with_words=False) == list(FILES)


def test_damaged_words_rule_nothing_out():
    blobs, live = stored(FILES)
    data = blobs.data[live[0].vectors]
    blobs.data[live[0].vectors] = data[:24] + bytes([data[24] ^ 0xFF]) + data[25:]

    assert WordLookup(blobs).may_match(literal("nowhere"), PackFiles(tuple(live))) == live


def test_words_are_read_without_the_vectors():
    blobs, live = stored(FILES)
    ranges = []
    get = blobs.get
    blobs.get = lambda digest, start=0, length=None: ranges.append(length) or get(digest, start, length)

    stored_words = read_words(blobs, live[0].vectors)
    words, places = stored_words.words, read_places(blobs, live[0].vectors, stored_words)

    assert words.find(b"write_file", begins=True, ends=True, any_case=False)
    assert places.count == sum(file.count for file in live)
    assert None not in ranges


@given(
    st.dictionaries(st.sampled_from(["a.txt", "b.txt"]), st.text("ab_ \n(é\u212a", max_size=30), min_size=1),
    st.text("abk_ (é\n", min_size=1, max_size=5),
)
def test_a_scan_finds_the_same_with_words_and_without(files, needle):
    for pattern in (literal(needle), regex(needle.replace("(", r"\("))):
        found = []
        for with_words in (True, False):
            blobs, live = stored(files, lines=1, with_words=with_words)
            sources = Sources(WordLookup(blobs), PackTexts(blobs))
            result = scan(sources, pattern, [("r", PackFiles(tuple(live)))], lambda _file: True, best=9, timeout_s=10)
            found.append((result.matches, [(hit.file.path, hit.place, hit.matches) for hit in result.hits]))
        assert found[0] == found[1]


def test_lists_beyond_the_limit_are_forgotten_and_read_again():
    blobs, live = stored(FILES)
    lookup = WordLookup(blobs, max_bytes=1)

    for _ in range(2):
        assert lookup.may_match(literal("read_file"), PackFiles(tuple(live))) == live[:1]


def _no_terms(count):
    return SparseRows(np.zeros(count + 1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32))
