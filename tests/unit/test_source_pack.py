"""Claims about the blob that holds the contents of a batch's files."""

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.chunker.source_pack import PackedSource, write_source_pack
from services.core.adapters.blobs import DirectoryBlobs
from services.core.errors import CorruptData, NotFound
from services.core.model import FileRef, Skipped, SkipReason
from tests.fakes import MemoryBlobs

names = st.text(max_size=12)
skipped = st.builds(Skipped, names.filter(bool), st.sampled_from(SkipReason), names)
files = st.dictionaries(names, st.binary(max_size=200) | skipped, max_size=8)
MAGIC = b"QRYSRCS1"


def ref(locator, path=""):
    return FileRef(path or f"path of {locator}", locator, "git:1", 1)


def packed(contents):
    blobs = MemoryBlobs()
    refs = [ref(locator, found.path if isinstance(found, Skipped) else "") for locator, found in contents.items()]
    return refs, blobs, blobs.put(write_source_pack(refs, contents.values()))


@given(files)
def test_what_was_packed_is_read_back_in_the_order_asked_for(contents):
    refs, blobs, key = packed(contents)
    source = PackedSource(blobs, key)

    assert list(source.read(refs)) == list(contents.values())
    assert list(source.read(refs[::-1])) == list(contents.values())[::-1]
    assert source.files() == ([], [])


def test_the_same_files_give_the_same_blob():
    assert packed({"a": b"one", "b": b"two"})[2] == packed({"a": b"one", "b": b"two"})[2]


def test_two_files_of_one_content_are_each_reported():
    refs = [ref("object", "a.py"), ref("object", "b.py")]
    blobs = MemoryBlobs()
    key = blobs.put(write_source_pack(refs, [Skipped(r.path, SkipReason.UNREADABLE) for r in refs]))

    assert [found.path for found in PackedSource(blobs, key).read(refs)] == ["a.py", "b.py"]


def test_as_many_contents_as_files_are_packed():
    with pytest.raises(ValueError):
        write_source_pack([ref("a"), ref("b")], [b"one"])


def test_a_file_that_is_not_in_the_pack_is_named():
    _, blobs, key = packed({"a": b"one"})

    with pytest.raises(CorruptData, match=r"lacks 'missing\.py'"):
        list(PackedSource(blobs, key).read([ref("b", "missing.py")]))


def test_a_pack_that_is_gone_is_not_found():
    with pytest.raises(NotFound):
        PackedSource(MemoryBlobs(), "nowhere")


@given(st.binary(max_size=60), st.sampled_from(["bare", "magic", "frame"]))
def test_what_is_no_pack_is_refused_or_holds_nothing_that_is_asked_for(data, shape):
    wrapped = {"bare": data, "magic": MAGIC + data, "frame": MAGIC + zstandard.compress(data)}[shape]
    blobs = MemoryBlobs()
    key = blobs.put(wrapped)

    with pytest.raises(CorruptData):
        list(PackedSource(blobs, key).read([ref("a")]))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_bit_is_never_read(tmp_path_factory, at, mask):
    refs, memory, _ = packed({"a": b"one" * 50, "b": bytes(range(256))})
    data = bytearray(memory.stored.popitem()[1])
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("blobs"))
    key = blobs.put(bytes(data))
    (stored,) = [path for path in blobs._directory.rglob("*") if path.is_file()]
    stored.chmod(0o644)
    data[at % len(data)] ^= mask
    stored.write_bytes(data)

    with pytest.raises(CorruptData):
        list(PackedSource(blobs, key).read(refs))


@given(st.integers(0, 10_000))
def test_a_pack_that_is_cut_short_is_refused(length):
    refs, blobs, key = packed({"a": b"one" * 50, "b": bytes(range(256))})
    blobs.stored[key] = blobs.stored[key][: length % len(blobs.stored[key])]

    with pytest.raises(CorruptData):
        list(PackedSource(blobs, key).read(refs))
