"""A process that writes to the vector store is killed at random moments; nothing it flushed may be lost."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from services.core.adapters.vectors import EdgeVectors
from services.core.ports import Filter
from tests.contract.test_vectors_contract import DIM, found, make_points

_ROOT = Path(__file__).resolve().parents[2]
POINTS = 3000
STEP = 100
KILLS = 6
SHARD_POINTS = 700

# Upserts slice after slice in an order of its own, says what it has begun and what is flushed,
# and rewrites points that are flushed already, as a batch that is sent twice does.
WRITER = """
import random, sys
from pathlib import Path
from services.core.adapters.vectors import EdgeVectors
from tests.contract.test_vectors_contract import DIM, make_points
from tests.integration.test_vectors_kill import POINTS, SHARD_POINTS, STEP, path_of

directory, seed, known = sys.argv[1], int(sys.argv[2]), set(map(int, sys.stdin.read().split()))
order = random.Random(seed)
store = EdgeVectors(Path(directory), DIM, shard_points=SHARD_POINTS, exact_points=10**9)
print("open", flush=True)
todo = [start for start in range(0, POINTS, STEP) if start not in known]
again = order.sample(sorted(known), min(3, len(known)))
slices = todo + again
order.shuffle(slices)
written = []
for start in slices:
    store.upsert(make_points([path_of(i) for i in range(start, start + STEP)]))
    store.maintain()
    written.append(start)
    if order.random() < 0.4:
        store.flush()
        print(*written, flush=True)
        written.clear()
store.flush()
print(*written, flush=True)
print("done", flush=True)
sys.stdin.close()
while True:
    store.maintain()
"""


def path_of(number):
    """Path of the file of point `number`."""
    return f"f{number}.py"


def run_and_kill(directory, seed, flushed):
    """Run the writer, kill it after a random number of its messages; return the slices it said it flushed."""
    chance = random.Random(seed)
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(seed)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        child.stdin.write(" ".join(map(str, flushed)))
        child.stdin.close()
        assert child.stdout.readline() == "open\n"
        said = set()
        for line in child.stdout:
            if line == "done\n":
                break
            said |= set(map(int, line.split()))
            if chance.random() < 0.35:
                break
        # A moment inside the next call, not always at its start.
        spin = chance.randrange(200_000)
        while spin:
            spin -= 1
        child.kill()
        for line in child.stdout:
            if line.endswith("\n") and line != "done\n":
                said |= set(map(int, line.split()))
    assert child.returncode == -9
    return said


def missing(store, points):
    """Ids of the points that are not there or not as they were written."""
    stored = store.payloads(points.ids)
    return [point for point, payload in zip(points.ids, points.payloads, strict=True) if stored.get(point) != payload]


@pytest.mark.parametrize("seed", [1])
def test_no_flushed_point_is_lost_when_the_writer_is_killed(tmp_path, seed):
    directory = tmp_path / "vectors"
    flushed = set()
    for kill in range(KILLS):
        flushed |= run_and_kill(directory, seed * 100 + kill, flushed)
        store = EdgeVectors(directory, DIM, shard_points=SHARD_POINTS, exact_points=10**9)
        numbers = [i for start in sorted(flushed) for i in range(start, start + STEP)]
        assert missing(store, make_points([path_of(i) for i in numbers])) == []
        store.close()

    store = EdgeVectors(directory, DIM, shard_points=SHARD_POINTS, exact_points=10**9)
    everything = make_points([path_of(i) for i in range(POINTS)])
    store.upsert(everything)
    store.settle()
    store.flush()

    assert missing(store, everything) == []
    assert store.count(Filter()) == POINTS
    assert found(store, everything, limit=2 * POINTS) == set(everything.ids)
    store.close()
