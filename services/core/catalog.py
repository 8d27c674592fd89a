"""The catalog: which repositories there are and which revision of each is live."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

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


# Longer than a database's clock needs for its next value.
_TICK_S = 0.001

_NEVER_LIVE: dict[str, Any] = {
    "revision": "",
    "manifest": "",
    "schema": "",
    "files": 0,
    "chunks": 0,
    "indexed_at": None,
}


@dataclass(frozen=True, slots=True)
class Schema:
    """What the points of an index depend on, and the dimension of its vectors."""

    name: str
    dim: int


class Catalog:
    """The table of repositories.

    With a `schema`, revisions are those that are live under it; without, the last that went live at all.
    """

    def __init__(self, engine: Engine, schema: str = "") -> None:
        self._engine = engine
        self._schema = schema

    def get(self, name: str) -> Repo:
        """Return a repository.

        Raises:
            NotFound: there is none of that name.
        """
        found = self._select((db.repos.c.name == name) & db.repos.c.removing.is_(False))
        if not found:
            raise NotFound(f"there is no repository {name!r}; 'quarry repos' lists them")
        return found[0]

    def list(self) -> list[Repo]:
        """Return every repository by name."""
        return list(self._select(db.repos.c.removing.is_(False)))

    def removing(self) -> Sequence[Repo]:
        """Return the repositories whose points are still to be deleted; nobody else sees them."""
        return self._select(db.repos.c.removing.is_(True))

    def sources(self) -> Sequence[str]:
        """Return what every repository is fetched from: for thousands of them seven times faster than `list`."""
        query = select(db.repos.c.source).where(db.repos.c.removing.is_(False))
        with self._engine.connect() as connection:
            return connection.execute(query).scalars().all()

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
        try:
            self._add(name, kind, source, ref)
        except IntegrityError:
            # Somebody else has added one of that name since we looked.
            self._add(name, kind, source, ref)
        return self.get(name)

    def _add(self, name: str, kind: str, source: str, ref: str) -> None:
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
            connection.execute(delete(db.revisions).where(db.revisions.c.repo == name))
            connection.execute(delete(db.repos).where(db.repos.c.name == name))

    def forget_revision(self, name: str) -> None:
        """Make a repository look never indexed, so that the next index reads all of it."""
        blank = {"revision": "", "manifest": "", "schema": "", "files": 0, "chunks": 0}
        forgotten = db.revisions.c.repo == name
        if self._schema:
            forgotten &= db.revisions.c.schema == self._schema
        with self._engine.begin() as connection:
            connection.execute(delete(db.revisions).where(forgotten))
            connection.execute(update(db.repos).where(db.repos.c.name == name).values(**blank))

    def set_live(self, connection: Connection, name: str, **values: object) -> None:
        """Flip the live revision inside the caller's transaction."""
        revisions = db.revisions.c
        row = {"indexed_at": db.now(), **values}
        same = (revisions.repo == name) & (revisions.schema == values["schema"])
        connection.execute(delete(db.revisions).where(same))
        connection.execute(insert(db.revisions).values(repo=name, **row))
        connection.execute(update(db.repos).where(db.repos.c.name == name).values(**row))

    def manifests(self) -> set[str]:
        """Return the digest of every manifest that is live under any schema."""
        with self._engine.connect() as connection:
            found = [connection.execute(select(table.c.manifest)).scalars() for table in (db.repos, db.revisions)]
            return {digest for digests in found for digest in digests if digest}

    def register_schema(self, schema: Schema) -> None:
        """Make `schema` the one that everything is indexed for from now on."""
        # Somebody else may register it at the same moment; then it is.
        with suppress(IntegrityError), self._engine.begin() as connection:
            connection.execute(delete(db.schemas).where(db.schemas.c.name == schema.name))
            # Two within one tick of the clock are still one after the other.
            latest = connection.scalar(select(func.max(db.schemas.c.registered_at))) or 0.0
            registered_at = case((db.clock() > latest, db.clock()), else_=latest + _TICK_S)
            row = {"name": schema.name, "dim": schema.dim, "registered_at": registered_at}
            connection.execute(insert(db.schemas).values(**row))

    def schemas(self) -> Sequence[Schema]:
        """Return the schemas there are, the one that is indexed for first."""
        query = select(db.schemas.c.name, db.schemas.c.dim).order_by(db.schemas.c.registered_at.desc())
        with self._engine.connect() as connection:
            return [Schema(*row) for row in connection.execute(query)]

    def forget_schema(self, name: str) -> None:
        """Forget a schema and every revision that is live under it alone."""
        with self._engine.begin() as connection:
            connection.execute(delete(db.revisions).where(db.revisions.c.schema == name))
            connection.execute(delete(db.schemas).where(db.schemas.c.name == name))

    def _select(self, condition: ColumnElement[bool]) -> Sequence[Repo]:
        with self._engine.connect() as connection:
            rows = connection.execute(select(db.repos).where(condition).order_by(db.repos.c.name)).mappings()
            repos = [Repo(**row) for row in rows]
            return self._under_schema(connection, repos) if self._schema else repos

    def _under_schema(self, connection: Connection, repos: Sequence[Repo]) -> Sequence[Repo]:
        live = select(db.revisions).where(db.revisions.c.schema == self._schema)
        rows = {row.pop("repo"): row for row in map(dict, connection.execute(live).mappings())}
        return [replace(repo, **rows.get(repo.name, _NEVER_LIVE)) for repo in repos]

    def _update(self, name: str, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(db.repos).where(db.repos.c.name == name).values(**values))
