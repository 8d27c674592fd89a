"""The catalog: which repositories there are and which revision of each is live."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, insert, select, update

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
        if row is None:
            raise NotFound(f"there is no repository {name!r}; 'quarry repos' lists them")
        return Repo(**row)

    def list(self) -> list[Repo]:
        """Return every repository by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(db.repos).order_by(db.repos.c.name)).mappings()
            return [Repo(**row) for row in rows]

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
            elif row["source"] != source:
                raise InvalidRequest(
                    f"repository {name!r} is {row['source']!r} already; give {source!r} another name with --name"
                )
            elif row["kind"] != kind:
                connection.execute(update(db.repos).where(db.repos.c.name == name).values(kind=kind))
        return self.get(name)

    def remove(self, name: str) -> None:
        """Forget a repository; one that is not there is no error."""
        with self._engine.begin() as connection:
            connection.execute(delete(db.repos).where(db.repos.c.name == name))

    def forget_revision(self, name: str) -> None:
        """Make a repository look never indexed, so that the next index reads all of it."""
        blank = {"revision": "", "manifest": "", "schema": "", "files": 0, "chunks": 0}
        with self._engine.begin() as connection:
            connection.execute(update(db.repos).where(db.repos.c.name == name).values(**blank))

    def set_live(self, connection: Connection, name: str, **values: object) -> None:
        """Flip the live revision inside the caller's transaction."""
        connection.execute(update(db.repos).where(db.repos.c.name == name).values(indexed_at=db.now(), **values))
