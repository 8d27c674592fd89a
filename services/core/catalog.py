"""The catalog: which repositories there are and which revision of each is live."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select, update

from services.core import database as db
from services.core.errors import InvalidRequest, NotFound


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository; `revision` and `manifest` are empty until its first index is committed."""

    name: str
    kind: str
    source: str
    ref: str
    revision: str
    manifest: str
    schema: str
    files: int
    chunks: int
    created_at: float
    indexed_at: float | None
    webhook_secret: str = field(default="", repr=False)
    looked_at: float = 0.0
    removing: bool = False


class Catalog:
    """The table of repositories."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, name: str) -> Repo:
        """Return a repository.

        Raises:
            NotFound: there is none of that name.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(db.repos).where(db.repos.c.name == name)).mappings().first()
        if row is None or row["removing"]:
            raise NotFound(f"there is no repository {name!r}; 'quarry repos' lists them")
        return Repo(**row)

    def list(self) -> list[Repo]:
        """Return every repository by name."""
        return list(self._select(db.repos.c.removing.is_(False)))

    def removing(self) -> Sequence[Repo]:
        """Return the repositories whose points are still to be deleted; nobody else sees them."""
        return self._select(db.repos.c.removing.is_(True))

    def from_sources(self, sources: Collection[str]) -> Sequence[Repo]:
        """Return the repositories that are fetched from one of `sources`."""
        return self._select(db.repos.c.removing.is_(False) & db.repos.c.source.in_(sources))

    def due(self, interval_s: float) -> Sequence[Repo]:
        """Return the repositories nobody has looked at for so long."""
        return self._select(db.repos.c.removing.is_(False) & (db.repos.c.looked_at < db.clock() - interval_s))

    def add(self, name: str, kind: str, source: str, ref: str) -> Repo:
        """Add a repository, or return the one there is; its ref changes only when a job of another goes live.

        A directory that has become a git repository since, or the reverse, stays the same repository.

        Raises:
            InvalidRequest: the name belongs to another source.
        """
        with self._engine.begin() as connection:
            row = connection.execute(select(db.repos).where(db.repos.c.name == name)).mappings().first()
            if row is None:
                connection.execute(
                    insert(db.repos).values(name=name, kind=kind, source=source, ref=ref, created_at=db.now())
                )
            elif row["removing"]:
                raise InvalidRequest(f"repository {name!r} is being removed; add it again in a few seconds")
            elif row["source"] != source:
                raise InvalidRequest(
                    f"repository {name!r} is {row['source']!r} already; give {source!r} another name with --name"
                )
            elif row["kind"] != kind:
                connection.execute(update(db.repos).where(db.repos.c.name == name).values(kind=kind))
        return self.get(name)

    def looked_at(self, name: str) -> None:
        """Record that a repository is being looked at now."""
        self._update(name, looked_at=db.clock())

    def set_secret(self, name: str, secret: str) -> None:
        """Set what the forge signs the webhooks of a repository with."""
        self._update(name, webhook_secret=secret)

    def set_source(self, name: str, source: str) -> None:
        """Record that a repository has moved to another address."""
        self._update(name, source=source)

    def start_removal(self, name: str) -> None:
        """Hide a repository from everybody; `remove` follows once its points are gone.

        Raises:
            NotFound: there is none of that name.
        """
        self.get(name)
        self._update(name, removing=True)

    def remove(self, name: str) -> None:
        """Forget a repository; one that is not there is no error."""
        with self._engine.begin() as connection:
            connection.execute(delete(db.repos).where(db.repos.c.name == name))

    def forget_revision(self, name: str) -> None:
        """Make a repository look never indexed, so that the next index reads all of it."""
        blank = {"revision": "", "manifest": "", "schema": "", "files": 0, "chunks": 0}
        self._update(name, **blank)

    def set_live(self, connection: Connection, name: str, **values: object) -> None:
        """Flip the live revision inside the caller's transaction."""
        connection.execute(update(db.repos).where(db.repos.c.name == name).values(indexed_at=db.now(), **values))

    def _select(self, condition: ColumnElement[bool]) -> Sequence[Repo]:
        with self._engine.connect() as connection:
            rows = connection.execute(select(db.repos).where(condition).order_by(db.repos.c.name)).mappings()
            return [Repo(**row) for row in rows]

    def _update(self, name: str, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(db.repos).where(db.repos.c.name == name).values(**values))
