"""The load test: brings up something to attack, attacks it, and says whether the service levels were held.

    python -m loadtest.run --profile short --target embedded

The exit status is 0 if they were held, 1 if not, and 2 if there was nothing to attack.
"""

import argparse
import os
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from loadtest.attack import AttackError, attack
from loadtest.levels import LEVELS, Profile, profiles
from loadtest.plan import SECRET_VARIABLE, Plan
from loadtest.report import RESULTS, store, table
from loadtest.sla import judge
from loadtest.target import STACK_ENVIRONMENT, SetupError, embedded, stack, stack_environment, webhook_secret


def main(arguments: list[str] | None = None) -> int:
    """Run one profile; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="short", help="short or full, or another of the levels' file")
    parser.add_argument("--target", default="embedded", choices=("embedded", "stack"))
    parser.add_argument("--url", default="", help="the stack's address; by default the one in .stack/env")
    parser.add_argument("--levels", type=Path, default=LEVELS, help="file of profiles and gates")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder the result is written to")
    options = parser.parse_args(arguments)
    known = profiles(options.levels)
    if (options.target, options.profile) not in known:
        parser.error(f"no profile {options.profile!r} for {options.target}: {options.levels} has {sorted(known)}")
    try:
        with tempfile.TemporaryDirectory(prefix="quarry-load-") as folder:
            target = _target(known[options.target, options.profile], Path(folder), options.url)
            return _run(target, Path(folder), options.results)
    except (SetupError, AttackError) as error:
        print(f"load test: {error}", file=sys.stderr)
        return 2


def _target(profile: Profile, folder: Path, url: str) -> AbstractContextManager[Plan]:
    if profile.target == "embedded":
        return embedded(profile, folder)
    environment = stack_environment()
    address = url or environment.get("QUARRY_URL", "")
    if not address:
        raise SetupError(f"no stack to attack: {STACK_ENVIRONMENT} names none (make stack), and --url is not given")
    # The load generator is a process of its own, and inherits it.
    os.environ[SECRET_VARIABLE] = webhook_secret({**environment, **os.environ})
    if (profile.push.users or profile.webhook.users) and not os.environ[SECRET_VARIABLE]:
        raise SetupError(f"pushes can't be signed: set {SECRET_VARIABLE} or {SECRET_VARIABLE}_FILE as the stack has it")
    return stack(profile, folder, address)


def _run(target: AbstractContextManager[Plan], folder: Path, results: Path) -> int:
    with target as plan:
        profile = plan.profile
        print(f"{profile.target} {profile.name}: {profile.window_s:g} s at {plan.url}", flush=True)
        traffic = attack(plan, folder)
    verdict = judge(traffic, profile.gates, profile.offered())
    path = store(plan, traffic, verdict, results)
    print(table(verdict))
    print(f"\n{'held' if verdict.held else 'NOT HELD'}; load generator at {traffic.cpu:.0%} of a core; {path}")
    return 0 if verdict.held else 1


if __name__ == "__main__":
    sys.exit(main())
