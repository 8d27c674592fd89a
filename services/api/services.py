"""What the views need, in one value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import BoundedSemaphore

from services.api.jobs import Jobs
from services.api.metrics import Metrics
from services.api.search import Searcher
from services.core.catalog import Catalog
from services.core.deliveries import Deliveries
from services.core.leases import Priority
from services.core.ledger import OPEN_STATES, Job, Ledger

Depths = Callable[[], Mapping[tuple[str, Priority], int]]


@dataclass(frozen=True, slots=True)
class Services:
    """Collaborators of the views.

    streams: how many event streams may be open at once; each holds a thread of the server.
    poll_s: how often a stream looks at its job.
    deliveries: webhooks that were acted on; without it one that comes again is acted on again.
    webhook_secret: of the repositories that have none of their own; "" is none.
    depths: how many rows wait or are being worked on by (stage, class), where others do the work.
    check_ready: raises what keeps this process from answering searches as it should.
    """

    searcher: Searcher
    jobs: Jobs
    catalog: Catalog
    ledger: Ledger
    metrics: Metrics
    streams: BoundedSemaphore
    poll_s: float
    deliveries: Deliveries | None = None
    webhook_secret: str = ""
    depths: Depths | None = None
    check_ready: Callable[[], None] = lambda: None

    def open_jobs(self) -> dict[str, Job]:
        """Return the newest waiting or running job of each repository."""
        return {job.repo: job for job in self.ledger.jobs(states=OPEN_STATES)}
