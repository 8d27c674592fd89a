"""All that may happen in the distributed mode, drawn at random."""

from contextlib import suppress

from services.core.errors import InvalidRequest
from services.core.ledger import JobState
from tests.distributed_world import LEASE_S
from tests.fakes_distributed import POISON

NAMES = ("one", "two")
RATES = {
    "killed": 0.006,
    "unavailable": 0.004,
    "slow": 0.15,
    "lost": 0.05,
    "doubled": 0.1,
    "refused": 0.02,
}


def act(world, random):
    """Do one thing of all those that happen."""
    name = random.choice(NAMES)
    known = {repo.name for repo in world.catalog.list()}
    dice = random.random()
    if dice < 0.72:
        world.deliver()
    elif dice < 0.80:
        world.sweep()
    elif dice < 0.82:
        world.pass_time(random.choice((1.0, 61.0, LEASE_S + 1)))
    elif dice < 0.92:
        if name not in {repo.name for repo in world.catalog.removing()}:
            world.ask(name, a_tree(random) if random.random() < 0.7 or name not in world.servers.trees else None)
    elif dice < 0.95 and name in known:
        world.jobs.look(name)
    elif dice < 0.96 and name in known:
        world.jobs.remove(name)
    elif dice < 0.99 and world.ledger.jobs(states=(JobState.FAILED,)):
        retry(world, random.choice(world.ledger.jobs(states=(JobState.FAILED,))).id)
    else:
        world.desk.leases.prune(done_s=0.0, failed_s=0.0)


def a_tree(random):
    """Some files of few contents, so that they come again; sometimes one that fails."""
    tree = {f"{name}.py": b"value = %d\n" % random.randrange(3) for name in "abcde" if random.random() < 0.7}
    return tree | ({"bad.py": POISON} if random.random() < 0.2 else {})


def retry(world, job_id):
    """Ask for a retry; whether it is granted is not the point."""
    with suppress(InvalidRequest):
        world.jobs.retry(job_id)
