"""Webhooks that have been acted upon, by the id their forge gave them: one that comes again changes nothing."""

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from services.core import database as db

# GitHub lets people send a delivery again for 3 days; a week leaves room for clocks and queues.
KEPT_S = 7 * 86_400.0


class Deliveries:
    """The table of deliveries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def job(self, delivery: str) -> int | None:
        """Return the job that a delivery led to, 0 if there was nothing to do, None if it has not been here."""
        query = select(db.deliveries.c.job).where(db.deliveries.c.id == delivery)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def record(self, delivery: str, job: int) -> None:
        """Record what a delivery led to; the first record of one stays."""
        row = insert(db.deliveries).values(id=delivery, received_at=db.clock(), job=job)
        try:
            with self._engine.begin() as connection:
                connection.execute(row)
        except IntegrityError:
            # The same delivery, twice at the same time.
            return

    def forget(self, older_than_s: float = KEPT_S) -> int:
        """Delete what is older than that and return how many there were."""
        old = delete(db.deliveries).where(db.deliveries.c.received_at < db.clock() - older_than_s)
        with self._engine.begin() as connection:
            return connection.execute(old).rowcount
