import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import CorruptData
from services.core.pack import Pack, read_text, write_pack
from tests.fakes import MemoryBlobs, chunked_file

texts = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40), min_size=1, max_size=6)


@given(st.lists(texts, max_size=4))
def test_every_text_comes_back_alone_and_in_order(files):
    blobs = MemoryBlobs()
    written = write_pack([chunked_file(f"{i}.py", pieces) for i, pieces in enumerate(files)])
    stored = blobs.put(bytes(written))

    pack = Pack(blobs.get(stored))

    wanted = [piece.encode() for pieces in files for piece in pieces]
    assert list(pack.texts()) == list(Pack(written).texts()) == wanted
    assert [read_text(blobs, stored, chunk.text) for chunk in pack.chunks] == wanted


def test_equal_texts_are_stored_once():
    once = write_pack([chunked_file("a.py", ["x = 1\n" * 50])])
    many = write_pack([chunked_file(f"{i}.py", ["x = 1\n" * 50]) for i in range(20)])

    offsets = {chunk.text.offset for chunk in Pack(many).chunks}

    assert len(offsets) == 1
    assert len(many) < len(once) + 1500


def test_equal_batches_give_equal_packs():
    assert write_pack([chunked_file()]) == write_pack([chunked_file()])


def test_a_pack_keeps_what_is_known_of_each_file():
    pack = Pack(write_pack([chunked_file("a.py", ["a\n", "b\n"]), chunked_file("b.py", ["c\n"], defines=["c"])]))

    assert [(f.path, f.first, f.count) for f in pack.files] == [("a.py", 0, 2), ("b.py", 2, 1)]
    assert pack.chunks[2].defines == ("c",)
    assert (pack.chunks[1].start_line, pack.chunks[1].end_line) == (2, 2)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[: len(d) // 2], lambda d: b"", lambda d: b"x" + d])
def test_a_pack_that_is_not_whole_is_refused(damage):
    with pytest.raises(CorruptData):
        Pack(damage(write_pack([chunked_file()])))


def test_a_flipped_bit_in_a_text_is_noticed():
    data = bytearray(write_pack([chunked_file("a.py", ["hello world, hello world\n"])]))
    blobs = MemoryBlobs()
    span = Pack(bytes(data)).chunks[0].text
    data[span.offset + span.length - 3] ^= 1
    blobs.stored["bad"] = bytes(data)

    with pytest.raises(CorruptData):
        read_text(blobs, "bad", span)
