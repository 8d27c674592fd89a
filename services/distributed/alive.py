"""Exit status 0 if the worker or sweeper of this container works: ``python -m services.distributed.alive [--ready]``.

Alive means a fresh heartbeat and asks no other server, or one outage would restart everything.
Ready means that ledger and broker answer too.
"""

import sys

from services.core.errors import QuarryError
from services.core.settings import Settings
from services.core.wiring import check_queue
from services.distributed.heartbeat import STALE_S, age_s


def main(arguments: list[str]) -> int:
    """Return the exit status and say what is wrong."""
    settings = Settings.from_env()
    age = age_s(settings.heartbeat)
    if age > STALE_S:
        print(f"no sign of life for {age:.0f} s, the limit is {STALE_S:.0f} s", file=sys.stderr)
        return 1
    try:
        if "--ready" in arguments:
            _ask_servers(settings)
    except QuarryError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _ask_servers(settings: Settings) -> None:
    # Half a second that the other question, asked every few seconds, need not take.
    from sqlalchemy import text

    from services.core.database import open_database

    check_queue(settings)
    with open_database(settings.database_url).connect() as connection:
        connection.execute(text("SELECT 1"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
