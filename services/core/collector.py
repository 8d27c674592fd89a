"""How often Python's cycle collector looks around."""

import gc

# Chunks, points and answers are trees of small objects without cycles. With Python's 700 the collector takes a
# tenth of the CPU time of an index and a quarter of that of ranking; what it is for waits a little longer.
_EVERY = 50_000


def collect_rarely() -> None:
    """Let it look after 50,000 new objects; for every process that indexes or answers searches."""
    gc.set_threshold(_EVERY, *gc.get_threshold()[1:])
