"""`quarry rebuild`, `fsck` and `gc` on real servers: PostgreSQL, an S3 store and Qdrant, or its stand-in."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from services.cli.arguments import parser
from services.core.adapters import qdrant
from services.core.adapters.s3 import S3Blobs
from services.core.catalog import Catalog, Schema
from services.core.census import StoredPoint
from services.core.collections import ALIAS, collection_name
from services.core.errors import QuarryError
from services.core.manifest import Manifest
from services.core.wiring import open_collections
from services.indexer.served import open_store
from services.indexer.stores import open_stores
from tests import qdrant_servers
from tests.distributed_world import NEW, OLD
from tests.fakes_distributed import DIM
from tests.maintenance_world import ListedWorld

ROOT = Path(__file__).parents[2]
# The ids of the tests say what they ran on.
pytestmark = pytest.mark.parametrize("kind", [qdrant_servers.OWN_KIND])


class ServedWorld(ListedWorld):
    """A world whose ledger, blobs and points are on servers; the queue and the model are not."""

    def __init__(self, folder, url, bucket, qdrant_url, monkeypatch):
        names = {"s3_url": bucket.url, "s3_access_key": bucket.access_key, "s3_secret_key": bucket.secret_key}
        monkeypatch.delenv("QUARRY_URL", raising=False)
        super().__init__(folder, url, monkeypatch=monkeypatch, qdrant_url=qdrant_url, search_grace_s=0.1, **names)
        self.blobs = self.desk.__dict__["blobs"] = S3Blobs(bucket)
        self.vectors = open_store(self.settings, Schema(self.schema, DIM))
        self.collections = open_collections(self.settings)

    @property
    def collection(self):
        return collection_name(self.schema, DIM)

    @property
    def stores(self):
        return open_stores(self.settings, list(self.catalog.schemas()))

    def visible(self, name):
        fences = self.ledger.fences()
        found = self.vectors.scroll(name)
        return {p.id for p in found if p.generation not in fences.staged and p.retired not in fences.retired}

    def start(self, *arguments):
        """Start a command as an operator would."""
        names = ("database_url", "s3_url", "s3_access_key", "s3_secret_key", "qdrant_url", "search_grace_s")
        settings = {f"QUARRY_{name.upper()}": str(getattr(self.settings, name)) for name in names}
        clean = {key: value for key, value in os.environ.items() if not key.startswith("QUARRY_")}
        command = [sys.executable, "-m", "services.cli", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=clean | settings | {"PYTHONPATH": str(ROOT)}, **pipes)

    def run(self, *arguments):
        """Carry out a command here, which takes a tenth of the time of a process; return its status and output."""
        parsed, out, err = parser().parse_args(arguments), io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = parsed.run(parsed, self.settings)
            except QuarryError as error:
                return error.exit_status, out.getvalue(), str(error)
        return status, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def qdrant_url(tmp_path_factory):
    # Of its own: whole collections come and go.
    server = qdrant_servers.qdrant_server(tmp_path_factory.mktemp("qdrant"))
    yield server.url
    server.stop()


@pytest.fixture
def world(tmp_path, postgres_url, s3_bucket, qdrant_url, monkeypatch):
    made = ServedWorld(tmp_path, postgres_url, s3_bucket, qdrant_url, monkeypatch)
    yield made
    made.collections.drop(made.collection)
    made.vectors.close()
    made.close()


def test_points_are_listed_one_by_one_over_several_answers(world, monkeypatch, kind):
    world.put("one", OLD)
    world.put("two", {"x.py": b"x = 1\n"})
    world.vectors.retire(list(world.expected("two", "two@1")), 7)
    monkeypatch.setattr(qdrant, "_SCROLLED", 2)
    packs = {file.path: file.pack for file in manifest(world, "one").files}

    listed = list(world.vectors.scroll("one"))

    assert {point.id for point in listed} == world.expected("one", "one@1")
    assert len(listed) == 3
    assert {point.pack for point in listed} == set(packs.values())
    (two,) = world.vectors.scroll("two")
    assert two == StoredPoint(two.id, 2, 7, manifest(world, "two").files[0].pack)
    assert list(world.vectors.scroll("three")) == []
    assert world.vectors.repos() == {"one": 3, "two": 1}


def manifest(world, name):
    return Manifest.load(world.blobs, Catalog(world.engine, world.schema).get(name).manifest)


def test_a_vector_store_that_is_lost_comes_back_without_embedding(world, kind):
    world.put("one", OLD)
    world.put("one", NEW)
    world.put("two", OLD)
    embedded = world.happened["", "embed"]
    world.collections.drop(world.collection)
    status, out, _ = world.run("fsck")
    assert status == 4
    assert "is missing; remedy: quarry rebuild" in out

    with world.start("rebuild", "--json") as process:
        out, err = process.communicate(timeout=120)

    assert (process.returncode, err) == (0, "")
    assert [each["how"] for each in json.loads(out)["rebuilt"]] == ["3 points from the stored packs"] * 2
    assert world.collections.behind(ALIAS) == world.collection
    assert world.run("fsck", "--read-data")[:2] == (0, "ledger, vector store and packs agree\n")
    world.check()
    assert world.happened["", "embed"] == embedded


def test_every_kind_of_disagreement_has_a_line_with_its_remedy(world, kind):
    world.put("one", OLD)
    world.put("two", {"x.py": b"x = 1\n"})
    (lost,) = world.expected("two", "two@1")
    world.vectors.retire([lost], 1000)
    world.vectors.purge(retired_by=1000)
    world.blobs.delete(manifest(world, "one").files[0].vectors)

    status, out, _ = world.run("fsck", "--json")
    line = world.run("fsck", "two")

    assert status == 4
    one, two = json.loads(out)["problems"]
    assert (one["where"], one["remedy"]) == (f"one ({world.schema})", "quarry rebuild one")
    assert "is not in" in one["what"]
    what = "1 points are missing, the first: 'x.py'"
    assert two == {"where": f"two ({world.schema})", "what": what, "remedy": "quarry rebuild two"}
    assert line[:2] == (4, f"two ({world.schema}): {what}; remedy: quarry rebuild two\n")


def test_a_rebuild_that_is_killed_harms_nothing_and_is_repeated(world, kind):
    for number in range(4):
        world.put(f"r{number}", OLD)
    with world.start("rebuild") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    world.check()
    world.settle()

    status, out, _ = world.run("rebuild")

    assert (status, len(out.splitlines())) == (0, 4)
    assert world.run("fsck", "--read-data")[0] == 0


def test_a_removal_waits_for_the_end_of_a_rebuild(world, kind):
    world.put("one", OLD)
    upsert, tried = type(world.vectors).upsert, []

    def remove_meanwhile(store, points):
        world.jobs.remove("one")
        world.sweep()
        tried.append(len(world.queue))
        while world.queue:
            world.deliver(0)
        upsert(store, points)
        # Written after the removal was asked for: it must not have been carried out.
        assert world.catalog.removing()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.vectors), "upsert", remove_meanwhile)
        (result,) = world.rebuild()

    assert "ended by somebody else" in result.error
    assert tried[0] > 0
    world.settle()
    assert world.vectors.repos() == {}
    assert world.catalog.removing() == []


def test_two_rebuilds_of_a_repository_come_one_after_the_other(world, kind):
    world.put("one", OLD)
    upsert, second = type(world.vectors).upsert, []

    def rebuild_meanwhile(store, points):
        if not second:
            second.append(None)
            second.extend(world.rebuild())
        upsert(store, points)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.vectors), "upsert", rebuild_meanwhile)
        (first,) = world.rebuild()

    assert first.how
    assert "it is being removed or rebuilt" in second[1].error or "is queued" in second[1].error
    assert world.problems() == []


def test_what_nothing_refers_to_is_deleted_from_the_object_store(world, kind):
    world.put("one", OLD)
    world.put("two", {"x.py": b"x = 1\n"})
    world.jobs.remove("two")
    world.settle()
    before = set(world.blobs.digests())

    young = json.loads(world.run("gc", "--json")[1])
    dry = json.loads(world.run("gc", "--older-than", "0", "--dry-run", "--json")[1])
    status, out, _ = world.run("gc", "--older-than", "0")

    assert (young["found"], dry["deleted"]) == (0, 0)
    # The note that tells the time is younger than all of them.
    assert len(before - set(world.blobs.digests())) == dry["found"] > 3
    assert (status, out) == (0, f"{dry['found']} blobs were deleted\n")
    assert world.run("fsck", "--read-data")[0] == 0


def test_the_index_of_a_former_model_is_dropped_when_the_next_one_has_taken_over(world, kind):
    world.put("one", OLD)
    former, of_model_1 = world.collection, world.schema
    world.embedder.model_id = "model-2"
    world.schema = of_model_1.replace("model-1", "model-2")
    world.catalog.register_schema(Schema(world.schema, DIM))
    world.vectors = open_store(world.settings, Schema(world.schema, DIM))
    status, _, err = world.run("gc", "--drop-old-schemas")
    assert (status, "1 of 1 repositories are not indexed" in err) == (2, True)
    world.put("one", NEW)
    world.collections.point_alias(ALIAS, world.collection)

    status, out, err = world.run("gc", "--drop-old-schemas", "--older-than", "0")

    assert (status, out.splitlines()[0]) == (0, f"schema {of_model_1} was dropped"), err
    assert former not in world.collections.names()
    assert world.run("fsck", "--read-data")[0] == 0
    world.check()
