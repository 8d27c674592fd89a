"""What happened during an attack, request by request, and how busy the load generator itself was."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path

from loadtest.sla import Sample, Traffic

# Shorter spans would take a single garbage collection for overload.
_SPAN_S = 3.0


@dataclass
class Recorder:
    """Collects samples; those that began between `start` and `end` will count."""

    warm_up_s: float
    window_s: float
    samples: list[Sample] = field(default_factory=list)
    start: float = 0.0
    _readings: list[tuple[float, float]] = field(default_factory=list)
    _under_way: dict[int, tuple[str, float]] = field(default_factory=dict)
    _begun: int = 0

    def begin(self) -> None:
        """Note that the attack begins now."""
        self.start = time.time() + self.warm_up_s

    @property
    def end(self) -> float:
        """When the window ends."""
        return self.start + self.window_s

    def read_cpu(self) -> None:
        """Note how much processor time this process has used so far; call it about once a second."""
        self._readings.append((time.time(), time.process_time()))

    @contextmanager
    def under_way(self, entry: str) -> Iterator[None]:
        """Remember that something is under way, so that what never ends is not forgotten."""
        self._begun += 1
        number = self._begun
        self._under_way[number] = (entry, time.time())
        try:
            yield
        except Exception:
            del self._under_way[number]
            raise
        # Not in a finally: a user that is killed in the middle, which is no Exception, stays remembered.
        del self._under_way[number]

    def traffic(self) -> Traffic:
        """Return what was seen; whatever is still under way has failed."""
        now = time.time()
        unfinished = [
            Sample(entry, began, (now - began) * 1e3, "it had not ended when the run did")
            for entry, began in self._under_way.values()
        ]
        return Traffic([*self.samples, *unfinished], self.start, self.end, self._cpu())

    def _cpu(self) -> float:
        """Return the greatest share of one core over any span of the window."""
        inside = [each for each in self._readings if self.start <= each[0] <= self.end + 0.5]
        shares = [
            (cpu_after - cpu_before) / (after - before)
            for number, (before, cpu_before) in enumerate(inside)
            for after, cpu_after in inside[number + 1 :]
            if _SPAN_S <= after - before < 2 * _SPAN_S
        ]
        return max(shares, default=0.0)


def write(traffic: Traffic, path: Path) -> None:
    """Write what was seen for another process."""
    fields = {"start": traffic.start, "end": traffic.end, "cpu": traffic.cpu}
    path.write_text(json.dumps({**fields, "samples": [astuple(sample) for sample in traffic.samples]}))


def read(path: Path) -> Traffic:
    """Read what `write` wrote."""
    fields = json.loads(path.read_text())
    return Traffic(**{**fields, "samples": [Sample(*values) for values in fields["samples"]]})
