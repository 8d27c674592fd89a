"""The command line as a user runs it: a process of its own, a data directory of its own."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GIT_ENV = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass
class Quarry:
    """The `quarry` command on one data directory."""

    home: Path
    env: dict = field(default_factory=dict)

    @property
    def environment(self):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("QUARRY_")}
        return clean | {"QUARRY_HOME": str(self.home), "QUARRY_WORKERS": "2", "PYTHONPATH": str(ROOT)} | self.env

    def start(self, *arguments, **options):
        command = [sys.executable, "-m", "services.cli", *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment, text=True, **options)

    def run(self, *arguments):
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    @contextmanager
    def serving(self):
        """Run `quarry serve` on a free port; yields its address."""
        with self.start("serve", "--port", 0, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
            try:
                yield server.stdout.readline().split()[-1]
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(timeout=60)

    def json(self, *arguments):
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def paths(self, query, *arguments):
        return [hit["path"] for hit in self.json("search", query, *arguments)["hits"]]


@pytest.fixture
def quarry(tmp_path):
    return Quarry(tmp_path / "home")


@dataclass
class GitRepo:
    """A git repository in a folder."""

    path: Path

    def git(self, *arguments):
        done = subprocess.run(
            ["git", "-C", self.path, *arguments], env=os.environ | GIT_ENV, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, **files):
        """Write `files` (name with `__` for `/` and `_dot_` for `.`; None deletes), commit, return the commit id."""
        for name, text in files.items():
            target = self.path / name.replace("__", "/").replace("_dot_", ".")
            if text is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    made = GitRepo(folder)
    made.git("init", "-q", "-b", "main")
    return made
