"""What is offered to a server and what it must achieve: the profiles of `sla.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.questions import KINDS, Size

LEVELS = Path(__file__).with_name("sla.toml")


@dataclass(frozen=True, slots=True)
class Load:
    """So many users, each beginning something so many times a second."""

    users: int
    each_per_s: float

    @property
    def per_s(self) -> float:
        """What all of them begin per second."""
        return self.users * self.each_per_s


NOBODY = Load(0, 0.0)
USERS = ("search", "index", "push", "webhook")


@dataclass(frozen=True, slots=True)
class Gate:
    """What one entry must achieve: response times in ms, shares from 0 to 1, and at least so many requests.

    failures: share of requests that failed or were answered wrongly. missed: share of answers that lack the file known
    to be the answer. requests: answers below which percentiles say nothing. rate: least share of the offered rate.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    requests: int
    failures: float = 0.0
    missed: float = 0.0
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """One load on one kind of target, and its gates by entry."""

    target: str
    name: str
    corpus: Size
    warm_up_s: float
    window_s: float
    search: Load
    index: Load
    push: Load
    gates: dict[str, Gate]
    webhook: Load = NOBODY

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "Profile":
        """Return the profile that plain values describe; users that are not named there are none."""
        loads = {user: Load(**fields[user]) if user in fields else NOBODY for user in USERS}
        gates = {entry: Gate(**limits) for entry, limits in fields["gates"].items()}
        return cls(**{**fields, **loads, "corpus": Size(**fields["corpus"]), "gates": gates})

    def offered(self) -> dict[str, float]:
        """Return how often per second each entry is begun, for those that do not depend on answers."""
        searches = {f"search {kind}": self.search.per_s * KINDS.count(kind) / len(KINDS) for kind in set(KINDS)}
        indexes = dict.fromkeys(("POST /v1/repos", "index to found"), self.index.per_s)
        webhooks = {"POST /v1/webhooks/github": self.push.per_s + self.webhook.per_s}
        pushes = webhooks | {"push to found": self.push.per_s}
        return {entry: per_s for entry, per_s in (searches | indexes | pushes).items() if per_s}

    def users(self) -> int:
        """Return how many users there are of all kinds."""
        return self.search.users + self.index.users + self.push.users + self.webhook.users


def profiles(path: Path = LEVELS) -> dict[tuple[str, str], Profile]:
    """Read the profiles by (target, name)."""
    table = tomllib.loads(path.read_text())
    return {
        (target, name): Profile.read({"target": target, "name": name, **fields})
        for target, named in table.items()
        for name, fields in named.items()
    }
