"""What a load generator is told when it is started: the profile, the server, and where the repositories are."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtest.levels import Profile
from loadtest.questions import Corpus

# The environment variable that names the plan's file, and the one that holds the secret pushes are signed with.
VARIABLE = "LOADTEST_PLAN"
SECRET_VARIABLE = "QUARRY_WEBHOOK_SECRET"


@dataclass(frozen=True, slots=True)
class Plan:
    """One attack; `address` makes a repository's name what the server is to index it from, `{name}` standing for it.

    prefix: begins the name of every repository of the run. scoped: others are indexed too, so searches name ours.
    """

    profile: Profile
    url: str
    prefix: str
    repositories: str
    address: str
    result: str
    scoped: bool = False

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read what `write` wrote."""
        fields = json.loads(path.read_text())
        return cls(**{**fields, "profile": Profile.read(fields["profile"])})

    def write(self, path: Path) -> None:
        """Write the plan for another process."""
        path.write_text(json.dumps(asdict(self)))

    def corpus(self) -> Corpus:
        """Generate the corpus the server has indexed."""
        return Corpus.make(self.profile.corpus, self.prefix)

    def moving(self) -> list[str]:
        """Return the repositories that change during the run: one for each user that indexes, pushes or announces."""
        profile = self.profile
        users = (("index", profile.index), ("push", profile.push), ("webhook", profile.webhook))
        return [f"{self.prefix}-{kind}-{number}" for kind, load in users for number in range(load.users)]

    def source(self, name: str) -> str:
        """Return what the server is to index a repository from."""
        return self.address.format(name=name)
