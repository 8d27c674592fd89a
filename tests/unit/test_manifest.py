import pytest

from services.core.errors import CorruptData
from services.core.manifest import Manifest, ManifestFile
from services.core.model import Skipped, SkipReason
from tests.fakes import MemoryBlobs


def file(path, count=2, blob="b"):
    return ManifestFile(path, "git:1", blob, 10, "python", "code", "", "p" * 64, "v" * 64, 0, count)


def test_a_manifest_comes_back_as_it_was():
    blobs = MemoryBlobs()
    skipped = (Skipped("x\ny.png", SkipReason.BINARY), Skipped("z", SkipReason.IGNORED, "by .gitignore"))
    manifest = Manifest("r", "c0ffee", "s", (file("a.py"), file("\\xff.py")), skipped)

    assert Manifest.load(blobs, manifest.store(blobs)) == manifest


def test_skip_counts_are_most_frequent_first():
    skipped = [Skipped("a", SkipReason.EMPTY), Skipped("b", SkipReason.BINARY), Skipped("c", SkipReason.BINARY)]

    assert list(Manifest("r", "1", "s", (), tuple(skipped)).skip_counts().items()) == [("binary", 2), ("empty", 1)]


def test_point_ids_differ_by_repository_path_content_and_ordinal():
    ids = [*file("a").point_ids("r"), *file("b").point_ids("r"), *file("a").point_ids("q")]
    ids += file("a", blob="c").point_ids("r")

    assert len(set(ids)) == 8
    assert list(file("a").point_ids("r")) == ids[:2]


def test_a_damaged_manifest_is_refused():
    blobs = MemoryBlobs()

    with pytest.raises(CorruptData):
        Manifest.load(blobs, blobs.put(b"not a manifest"))
