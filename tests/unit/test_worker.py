"""What a worker keeps between two stages."""

from services.core.pack import Pack, write_pack
from services.embedded.worker import LastPack
from tests.fakes import MemoryBlobs, chunked_file


def test_the_pack_stored_last_is_not_read_again():
    stored = MemoryBlobs()
    blobs = LastPack(stored)
    first, second = (blobs.put(write_pack([chunked_file("a.py", [text])])) for text in ("a\n", "b\n"))
    kept = {digest: bytes(data) for digest, data in stored.stored.items()}
    del stored.stored[second]

    assert list(Pack(blobs.get(second)).texts()) == [b"b\n"]
    assert type(blobs.get(first)) is bytes
    assert bytes(blobs.get(first)) == kept[first]


def test_other_blobs_and_ranges_come_from_the_store():
    stored = MemoryBlobs()
    blobs = LastPack(stored)
    pack, other = blobs.put(write_pack([chunked_file()])), blobs.put(b"vectors")

    assert blobs.get(other) == b"vectors"
    assert blobs.get(pack, 2, 3) == stored.get(pack, 2, 3)
    blobs.delete(other)
    assert set(blobs.digests()) == {pack}
