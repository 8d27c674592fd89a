"""The distributed mode in one process: the real tasks and sweeper on a real ledger, everything else in memory.

Workers may be killed, stand still or miss a server at every step they take; messages are lost, doubled and mixed up.
Time passes when the test says so: leases are set back, and the clock that holders look at goes on.
"""

import time
from collections import Counter
from contextlib import contextmanager

from sqlalchemy import event

from services.chunker import split as splitter
from services.chunker.tasks import chunker_tasks, cloner_tasks
from services.core.adapters.cache import NullCache
from services.core.catalog import Catalog, Schema
from services.core.database import open_database
from services.core.desk import Desk
from services.core.digest import digest, point_id
from services.core.errors import Unavailable
from services.core.ledger import OPEN_STATES, STARTED_STATES, Cleanup, JobState, Ledger
from services.core.settings import Settings
from services.core.wiring import schema_of
from services.distributed.jobs import QueuedJobs
from services.distributed.queue import STAGES
from services.distributed.sweeper import Sweeper
from services.embedder.tasks import embedder_tasks
from services.indexer.tasks import indexer_tasks
from tests.fakes_distributed import (
    DIM,
    Faults,
    Killed,
    MemoryServers,
    SteppingBlobs,
    SteppingEmbedder,
    SteppingVectors,
    split,
)

OLD = {"a.py": b"a = 1\n", "b.py": b"b = 1\n", "c.py": b"def c():\n    return 1\n"}
NEW = {"a.py": b"a = 2\n", "b.py": b"b = 1\n", "d.py": b"def d():\n    return 2\n"}
# Longer than any test takes, so that leases end only when time is told to pass.
LEASE_S = 3600.0
RESEND_S = 1800.0
POLL_S = 100_000.0
_WORKER_OF = {stage: worker for worker, stages in STAGES.items() for stage in stages}
_PORTS = ("fetch", "tip", "get", "put", "embed")


class World:
    """Repositories, a queue, and as many workers as there are messages taken."""

    def __init__(self, folder, url="", *, faults=None, monkeypatch, **settings):
        self.settings = Settings(
            home=folder,
            database_url=url or f"sqlite:///{folder}/catalog.db",
            git_allow="127.0.0.1",
            batch_bytes=60,
            lease_s=LEASE_S,
            resend_s=RESEND_S,
            poll_s=POLL_S,
            **settings,
        )
        self.engine = _fast(open_database(self.settings.database_url))
        event.listen(self.engine, "before_cursor_execute", lambda *_: self.step("statement"))
        self.faults = faults or Faults()
        self.steps, self.depth, self.later_s = 0, 0, 0.0
        self.happened = Counter()
        for module in ("services.core.keeper", "services.distributed.sweeper"):
            monkeypatch.setattr(f"{module}.monotonic", lambda: time.monotonic() + self.later_s)
        self.servers, self.blobs = MemoryServers(self.step), SteppingBlobs(self.step)
        self.vectors, self.embedder = SteppingVectors(self.step), SteppingEmbedder(self.step)
        self.queue, self.said = [], []
        self.meanwhile = self.sweep
        # By name of a step: the how-manieth from now, and what others do while a worker takes it.
        self.once = {}
        self.idle = {worker: [] for worker in STAGES}
        self.ledger, self.catalog = Ledger(self.engine), Catalog(self.engine)
        self.schema = schema_of(self.embedder)
        self.catalog.register_schema(Schema(self.schema, DIM))
        self.desk = self._desk()
        self.jobs = QueuedJobs(self.desk)
        self.sweeper = Sweeper(self.desk, lambda stage, priority: self._backlog(stage, priority))

    def close(self):
        self.engine.dispose()

    # What happens to a process

    def step(self, name):
        """A worker has got so far; here it may be killed, stand still while others work, or miss a server."""
        if not self.depth:
            return
        self.steps += 1
        self._meanwhile(name)
        kinds = ["killed"]
        if name in (*_PORTS, "statement", "write"):
            kinds.append("unavailable")
        if name in _PORTS:
            kinds.append("slow")
        kind = self.faults.of(self.steps, name, kinds)
        self.happened[kind, name] += 1
        if kind == "killed":
            raise Killed(name)
        if kind == "unavailable":
            raise Unavailable(f"no {name} now")
        if kind == "slow" and self.depth < 3:
            self.slow()

    def _meanwhile(self, name):
        number, action = self.once.pop(name, (0, None))
        if number > 1:
            self.once[name] = number - 1, action
        elif number:
            with self._quietly():
                action()

    def slow(self):
        """Let others work, and often take over, before this worker goes on."""
        random = self.faults.random
        if random.random() < 0.7:
            self.pass_lease()
            with self._quietly():
                self.sweep()
        with self._outside():
            for _ in range(random.randrange(1, 30)):
                with self._process():
                    random.choice((self.deliver, self.deliver, self.deliver, self.meanwhile))()
                self.check()

    @contextmanager
    def _outside(self):
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    @contextmanager
    def _process(self):
        """Run what a process does; its end is nobody else's."""
        self.depth += 1
        try:
            yield
        except Killed:
            self.happened["ended"] += 1
        except Unavailable as error:
            self.happened["dropped", str(error)] += 1
        finally:
            self.depth -= 1

    # The queue and who listens to it

    def publish(self, message, priority):
        self.said.append((message, priority))
        kind = self.faults.of(0, "", ("lost", "doubled", "refused"))
        if kind == "refused":
            raise ConnectionError("no broker")
        copies = {"lost": 0, "doubled": 2}.get(kind, 1)
        self.queue += [(message, priority)] * copies

    def deliver(self, place=None):
        """Give a message to a worker: any, or the one at `place`."""
        if not self.queue:
            return
        random = self.faults.random
        message, priority = self.queue.pop(random.randrange(len(self.queue)) if place is None else place)
        worker = _WORKER_OF[message.stage]
        tasks = self.idle[worker].pop() if self.idle[worker] else self._tasks(worker)
        before = self.happened["ended"]
        with self._process():
            tasks[message.stage](message.key, priority)
        if self.happened["ended"] == before:
            self.idle[worker].append(tasks)
        elif random and random.random() < 0.5:
            # It was not acknowledged, and comes again.
            self.queue.append((message, priority))

    def sweep(self):
        with self._process():
            self.sweeper.round()

    def pass_time(self, seconds):
        """Let time go by, for leases, ends of jobs, looks, and those who hold something."""
        self.later_s += seconds
        with self.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE jobs SET lease_until = lease_until - {seconds}")
            connection.exec_driver_sql(f"UPDATE jobs SET finished_at = finished_at - {seconds}")
            connection.exec_driver_sql(f"UPDATE batches SET lease_until = lease_until - {seconds}")
            connection.exec_driver_sql(f"UPDATE repos SET looked_at = looked_at - {seconds}")

    def pass_lease(self):
        with self._quietly():
            self.pass_time(LEASE_S + 1)

    @contextmanager
    def _quietly(self):
        depth, self.depth = self.depth, 0
        try:
            yield
        finally:
            self.depth = depth

    def settle(self, faults=None, rounds=400):
        """Go on until nothing is left to do, by default without further faults; say what is if that does not come."""
        self.faults = faults or Faults()
        for _ in range(rounds):
            while self.queue:
                self.deliver(0)
                self.check()
            self.sweep()
            if not self.queue and not self._left():
                return
            self.pass_time(LEASE_S + 1)
        raise AssertionError(f"not settled: {self._left()}")

    # What people do

    def push(self, name, tree):
        self.servers.push(name, {path: data for path, data in tree.items() if data is not None})

    def ask(self, name, tree=None):
        """Ask for an index, after pushing a tree if one is given; return the job's id."""
        if tree is not None:
            self.push(name, tree)
        return self.jobs.submit(f"https://127.0.0.1/{name}.git", name)

    def put(self, name, tree):
        """Push, index, and wait; return the job."""
        job_id = self.ask(name, tree)
        self.settle()
        return self.ledger.job(job_id)

    # What must be so

    def expected(self, name, revision):
        """Return the ids of the points of a revision, worked out from its files alone."""
        ids = set()
        for path, data in self.servers.tree(revision).items():
            chunks = len(splitter.split(data, "python").chunks)
            ids |= {point_id(name, path, digest(data), number) for number in range(chunks)}
        return ids

    def visible(self, name):
        """Return the ids of the points that a search sees now."""
        fences = self.ledger.fences()
        return {
            key
            for key, (repo, _path, generation, retired) in self.vectors.points.items()
            if repo == name and generation not in fences.staged and retired not in fences.retired
        }

    def check(self):
        """What must hold between any two messages: one revision is seen, and one job of a repository works."""
        with self._quietly():
            for repo in Catalog(self.engine, self.schema).list():
                if repo.revision:
                    assert self.visible(repo.name) == self.expected(repo.name, repo.revision), repo.revision
            working = Counter(job.repo for job in self.ledger.jobs(states=STARTED_STATES))
            working += Counter(job.repo for job in self.ledger.jobs(states=(JobState.QUEUED,)) if job.holder)
            assert all(count == 1 for count in working.values()), working
            assert all(job.error for job in self.ledger.jobs(states=(JobState.FAILED,)))

    def check_settled(self):
        """What must hold when all is done: every tip is searchable, and nothing else is stored."""
        self.check()
        expected = set()
        for repo in Catalog(self.engine, self.schema).list():
            assert repo.revision == self.servers.revision(repo.name)
            expected |= self.expected(repo.name, repo.revision)
        assert set(self.vectors.points) == expected
        assert self.ledger.fences() == type(self.ledger.fences())()
        assert {job.state for job in self.ledger.jobs()} <= {JobState.DONE, JobState.FAILED}

    def _left(self):
        jobs = [(j.id, j.repo, j.state.value, j.holder, j.error) for j in self.ledger.jobs(states=OPEN_STATES)]
        unclean = [job.id for job in self.ledger.jobs(cleanups=(Cleanup.RETIRED, Cleanup.STAGED))]
        return jobs + unclean + [repo.name for repo in self.catalog.removing()]

    def _backlog(self, stage, priority):
        mine = [m for m, p in self.queue if _WORKER_OF[m.stage] == _WORKER_OF[stage] and p is priority]
        return len(mine)

    def _desk(self):
        desk = Desk(self.settings, self.publish)
        desk.__dict__ |= {"engine": self.engine, "blobs": self.blobs}
        return desk

    def _tasks(self, worker):
        desk = self._desk()
        return {
            "cloner": lambda: cloner_tasks(desk, self.servers),
            "chunker": lambda: chunker_tasks(desk, split),
            "embedder": lambda: embedder_tasks(desk, self.embedder, NullCache()),
            "indexer": lambda: indexer_tasks(desk, lambda _schema: self.vectors),
        }[worker]()


def _fast(engine):
    """A database that forgets everything in a power cut, which no test has."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        engine.dispose()
    return engine


def newest(world, name):
    """Return the last job of a repository."""
    return world.ledger.jobs(name)[-1]


def deliver_until(world, stage):
    """Deliver messages in order until one of a stage comes next."""
    while world.queue[0][0].stage != stage:
        world.deliver(0)
