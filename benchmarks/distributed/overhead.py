"""What distribution costs: CPU seconds of all processes of the stack against those of `quarry index`, on one tree."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.distributed.bench import STDLIB, Bench, note
from benchmarks.distributed.cpu import cpu_s, difference
from benchmarks.distributed.deployment import Deployment
from benchmarks.speed import quarry
from benchmarks.speed.measure import MeasurementError
from benchmarks.speed.records import Record, median

_IDLE_S = 10.0


@dataclass(frozen=True, slots=True)
class Pair:
    """One index by the stack, and one by the embedded mode.

    cpu_s: of each process from the request until the stack was at rest again; idle_share: what each uses of a core
    when nothing is asked of it; wall_s: until the job was done; counted_s: as long as CPU time was counted.
    """

    cpu_s: dict[str, float]
    idle_share: dict[str, float]
    wall_s: float
    counted_s: float
    chunks: int
    embedded_cpu_s: float
    embedded_wall_s: float

    @property
    def idle_s(self) -> float:
        """CPU seconds the stack would have used meanwhile without the index."""
        return sum(self.idle_share.values()) * self.counted_s

    @property
    def ratio(self) -> float:
        """CPU seconds of the stack for each of the embedded mode's."""
        return (sum(self.cpu_s.values()) - self.idle_s) / self.embedded_cpu_s


def overhead(bench: Bench) -> Record:
    """Index the standard library by both modes in turns, each time with nothing cached."""
    description = bench.stdlib().describe()
    note("overhead: warming up")
    quarry.index(bench.stdlib().path, bench.folder / "homes" / "overhead", fresh=True)
    pairs, stood_in = [], {}
    for number in range(bench.runs):
        note(f"overhead: run {number + 1} of {bench.runs}")
        deployment = bench.fresh()
        pairs.append(_pair(bench, deployment))
        stood_in = deployment.describe()
    return Record("overhead", _figures(pairs), [_row(pair) for pair in pairs], {**description, "stood_in": stood_in})


def _pair(bench: Bench, deployment: Deployment) -> Pair:
    if "qdrant" not in deployment.roots:
        raise MeasurementError(
            "the CPU time of a Qdrant that runs elsewhere is not known; unset QUARRY_TEST_QDRANT_URL"
        )
    folder = bench.publish_stdlib(deployment)
    idle = deployment.idle(_IDLE_S)
    before, started = cpu_s(deployment.roots), time.monotonic()
    job = deployment.index(STDLIB, deployment.forge.url(STDLIB))
    wall_s = time.monotonic() - started
    deployment.settle(idle)
    used, counted_s = difference(before, cpu_s(deployment.roots)), time.monotonic() - started
    bench.has_stdlib()
    usage, result = quarry.index(folder, bench.folder / "homes" / "overhead", fresh=True)
    if job["counts"]["chunks"] != result["chunks"]:
        raise MeasurementError(f"the stack made {job['counts']['chunks']} chunks, the other {result['chunks']}")
    return Pair(used, idle, wall_s, counted_s, result["chunks"], usage.cpu_s, usage.wall_s)


def _row(pair: Pair) -> dict[str, Any]:
    return {**asdict(pair), "idle_s": round(pair.idle_s, 3), "ratio": round(pair.ratio, 3)}


def _figures(pairs: list[Pair]) -> dict[str, Any]:
    by_process = {name: round(median([pair.cpu_s[name] for pair in pairs]), 2) for name in pairs[0].cpu_s}
    return {
        "cpu_over_embedded": round(median([pair.ratio for pair in pairs]), 2),
        "cpu_s": round(median([sum(pair.cpu_s.values()) - pair.idle_s for pair in pairs]), 2),
        "embedded_cpu_s": round(median([pair.embedded_cpu_s for pair in pairs]), 2),
        "idle_share": round(median([sum(pair.idle_share.values()) for pair in pairs]), 4),
        "idle_s": round(median([pair.idle_s for pair in pairs]), 2),
        "wall_s": round(median([pair.wall_s for pair in pairs]), 1),
        "embedded_wall_s": round(median([pair.embedded_wall_s for pair in pairs]), 1),
        "chunks": pairs[0].chunks,
        "cpu_s_by_process": by_process,
    }
