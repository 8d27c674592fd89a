"""What a check of stored data finds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something stored that is not as it should be, and the command that mends it."""

    where: str
    what: str
    remedy: str
