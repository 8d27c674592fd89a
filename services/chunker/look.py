"""Looking whether the tip of a repository has moved that no webhook spoke of."""

import logging

from services.chunker.clone import Servers
from services.core.catalog import Catalog
from services.core.desk import Desk
from services.core.errors import NotFound, QuarryError
from services.core.leases import Priority

log = logging.getLogger(__name__)

# What has failed fails again most of the time, and costs as much each time.
_FAILED_RESTS_S = 3600.0


def look(name: str, desk: Desk, servers: Servers, priority: Priority) -> None:
    """Request a job for a repository if its server has another commit than the live one.

    Not for one that an index has failed with in the last hour: that takes somebody who asks for it.
    """
    try:
        schema = desk.active_schema().name
        repo = Catalog(desk.engine, schema).get(name)
        tip = servers.tip(repo)
        if tip == repo.revision or desk.leases.has_failed(name, tip or "", schema, _FAILED_RESTS_S):
            return
        # Also where the ref is gone: the job says so.
        job, new = desk.leases.request_job(name, repo.ref, priority, max_open=desk.settings.max_open_jobs)
        if new:
            desk.send("plan", job.id, priority)
    except NotFound:
        return
    except QuarryError as error:
        log.warning("look_failed", extra={"repo": name, "error": str(error)})
