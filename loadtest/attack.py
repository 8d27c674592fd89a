"""One attack: Locust in a process of its own, as it changes how sockets and threads of its process work."""

import os
import subprocess
import sys
from pathlib import Path

from loadtest import recorder
from loadtest.plan import VARIABLE, Plan
from loadtest.sla import Traffic

ROOT = Path(__file__).resolve().parents[1]
# What is under way at the end may end; cutting it off would lose the slowest of all.
_GRACE_S = 90
# Starting Python, importing Locust, generating the corpus and its questions.
_START_LIMIT_S = 180


class AttackError(Exception):
    """The load generator itself failed."""


def attack(plan: Plan, folder: Path) -> Traffic:
    """Carry out a plan and return what was seen; `folder` takes the plan, the samples and the log.

    Raises:
        AttackError: the load generator ended early or not at all.
    """
    path = folder / "plan.json"
    plan.write(path)
    log_path = folder / "locust.log"
    limit_s = plan.profile.warm_up_s + plan.profile.window_s + _GRACE_S + _START_LIMIT_S
    with log_path.open("wb") as log:
        process = subprocess.Popen(_command(plan), env=_environment(path), cwd=folder, stdout=log, stderr=log)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AttackError(f"the load generator did not end in {limit_s:.0f} s; see {log_path}") from None
        finally:
            process.kill()
            process.wait()
    if process.returncode or not Path(plan.result).exists():
        last_words = log_path.read_text(errors="replace").strip()[-1000:]
        raise AttackError(f"the load generator ended with status {process.returncode}: {last_words}")
    return recorder.read(Path(plan.result))


def _command(plan: Plan) -> list[str]:
    users = plan.profile.users()
    command = [sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtest" / "locustfile.py"), "--headless"]
    command += ["--users", str(users), "--spawn-rate", str(users), "--host", plan.url]
    return [*command, "--stop-timeout", f"{_GRACE_S}s", "--loglevel", "WARNING", "--only-summary"]


def _environment(plan: Path) -> dict[str, str]:
    # Locust reads LOCUST_*: what someone has set there must not change what is measured.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    return clean | {VARIABLE: str(plan), "PYTHONPATH": str(ROOT)}
