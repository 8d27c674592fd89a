"""Real servers and databases for tests that ask for one: started once, emptied for each test, stopped at the end."""

import itertools
import shutil
import signal
import tempfile
from pathlib import Path

import psycopg
import pytest
import redis

from loadtest.forge import Forge
from services.core.adapters.s3 import create_bucket
from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.errors import Unavailable
from services.core.leases import Leases
from services.core.ledger import Ledger
from services.core.model_files import model_files
from services.core.settings import Settings
from tests.api_client import Client
from tests.servers import NotToBeHad, Server, object_store, postgres_server, redis_server

_numbers = itertools.count(1)
# Of the whole distributed mode: one process of each kind, and little patience, so that what is lost is found soon.
_STACK_SETTINGS = {
    "QUARRY_WORKERS": "1",
    "QUARRY_BATCH_BYTES": "65536",
    "QUARRY_LEASE_S": "3",
    "QUARRY_RESEND_S": "2",
    "QUARRY_SWEEP_S": "0.3",
    "QUARRY_SEARCH_GRACE_S": "2",
    "QUARRY_POLL_S": "0",
    "QUARRY_MAX_OPEN_JOBS": "12",
}


def _serve(start, folder, *, end=Server.stop, **options):
    try:
        server = start(folder, **options)
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    yield server
    end(server)


@pytest.fixture(scope="session")
def broker_server(tmp_path_factory):
    """A Redis that never evicts, as a queue needs it."""
    yield from _serve(redis_server, tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="session")
def cache_server(tmp_path_factory):
    """A Redis that evicts what was used least recently, as a cache may."""
    yield from _serve(redis_server, tmp_path_factory.mktemp("cache"), maxmemory="64mb", policy="allkeys-lru")


@pytest.fixture
def own_redis(tmp_path):
    """A Redis of the test's own, which it may stop."""
    # One that stands still heeds no other signal.
    yield from _serve(redis_server, tmp_path, end=lambda server: server.end(signal.SIGKILL))


@pytest.fixture(scope="session")
def postgres_process():
    # Not in pytest's folder: the user `postgres` can't enter that one when root runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="quarry-postgres-"))
    try:
        yield from _serve(postgres_server, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """MinIO, or another real S3 server."""
    yield from _serve(object_store, tmp_path_factory.mktemp("s3"))


@pytest.fixture(scope="session")
def triton(tmp_path_factory):
    """Triton with MiniLM on CPU."""
    pytest.importorskip("tritonclient.grpc")
    from tests.triton_server import minilm_repository, triton_server

    folder = tmp_path_factory.mktemp("triton")
    try:
        repository = minilm_repository(folder / "repository", model_files(Settings()))
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield from _serve(triton_server, folder, repository=repository)


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """The whole distributed mode; whoever ends a part of it starts it again."""
    from tests.stack import Stack

    # Not in pytest's folder: see `postgres_process`.
    folder = Path(tempfile.mkdtemp(prefix="quarry-stack-"))
    folder.chmod(0o755)
    started = Stack(folder)
    try:
        yield started.start(_STACK_SETTINGS)
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    finally:
        # Nobody needs what is in it: what a stop in good order leaves, the tests have seen by now.
        for name in started.processes:
            started.kill(name)
        # It would wait for the connections that clients keep.
        if "objects" in started.servers:
            started.stop_server("objects")
        started.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def api(stack):
    """A client of the stack's API; if the test fails, the report has the logs of all processes."""
    yield Client(stack.url)
    print(stack.log_tails())


@pytest.fixture(scope="session")
def forge(tmp_path_factory):
    """A git forge on loopback."""
    with Forge(tmp_path_factory.mktemp("forge")) as served:
        yield served


@pytest.fixture
def redis_url(broker_server):
    """Address of an empty Redis that never evicts."""
    return _emptied(broker_server.url)


@pytest.fixture
def cache_url(cache_server):
    """Address of an empty Redis that evicts at 64 MB."""
    return _emptied(cache_server.url)


@pytest.fixture
def postgres_url(postgres_process):
    """Address of a new database."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_process.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres_process.url.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """Address of a new database, of each kind in turn."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/catalog.db"


@pytest.fixture
def engine(database_url):
    opened = open_database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def ledger(engine):
    return Ledger(engine)


@pytest.fixture
def leases(engine):
    return Leases(engine)


@pytest.fixture
def catalog(engine):
    return Catalog(engine)


@pytest.fixture
def s3_bucket(s3_server):
    """Address and keys of a new bucket."""
    bucket = s3_server.bucket(f"test-{next(_numbers)}")
    create_bucket(bucket)
    return bucket


def _emptied(url):
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url
