"""Workers are killed under a backlog, the broker and then everything at once: nothing is lost (the short form).

``python -m tests.chaos`` is the long form.
"""

import uuid

import pytest

from tests.chaos.phases import Phase, run_phase
from tests.chaos.team import Team

SHORT = (
    Phase("trees", lambda faults: faults.trees(1), every_s=0, share=0.5),
    Phase("children", lambda faults: faults.children(2), every_s=0, share=0.5),
    Phase("broker", lambda faults: faults.server("broker", 2), every_s=0.2, share=0.1),
    Phase("everything", lambda faults: faults.everything(1), every_s=0, share=0.5),
)


@pytest.fixture(scope="module")
def team(stack, forge):
    from tests.api_client import Client

    names = [f"team-{uuid.uuid4().hex[:6]}-{number}" for number in range(3)]
    team = Team(forge, Client(stack.url), stack.environment["QUARRY_WEBHOOK_SECRET"], names, files=80)
    team.join()
    return team


@pytest.mark.parametrize("phase", SHORT, ids=lambda phase: phase.name)
def test_nothing_is_lost(stack, api, team, phase):
    outcome = run_phase(phase, stack, team, api)

    assert (outcome.lost, outcome.problems, outcome.wrong) == (0, [], [])
    assert set(outcome.searches) <= {"200", "503", "none"}
    assert set(outcome.jobs) <= {"done", "failed"}
    assert sum(outcome.faults.values()) > 0
    assert outcome.pushes > 0
