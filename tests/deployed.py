"""What docker-compose.yml, services/Dockerfile and k8s/ say, read into Python for the tests of them."""

import re
import shutil
import subprocess
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import yaml

from services.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = ("api", "cloner", "chunker", "embedder", "indexer", "sweeper")
STORES = ("postgres", "redis-broker", "redis-cache", "minio", "qdrant")
# Whoever holds one of these secrets talks to that server.
STORE_OF = {
    "database_url": "postgres",
    "broker_url": "redis-broker",
    "cache_url": "redis-cache",
    "s3_secret_key": "minio",
    "qdrant_api_key": "qdrant",
}
SETTINGS = {f"QUARRY_{field.name.upper()}" for field in fields(Settings)}
# Read by the model service, and by nothing that has settings.
OWN_NAMES = {"QUARRY_TRITON_DEVICE"}


def compose(name="docker-compose.yml"):
    """Return a Compose file."""
    return yaml.safe_load((ROOT / name).read_text())


@dataclass(frozen=True)
class Stage:
    """A stage of services/Dockerfile: where it begins, and its instructions."""

    parent: str
    lines: tuple[tuple[str, str], ...]

    def arguments(self, instruction):
        """Return the arguments of every such instruction."""
        return [rest for name, rest in self.lines if name == instruction]


@cache
def stages(path=ROOT / "services" / "Dockerfile"):
    """Return the stages of a Dockerfile by name."""
    found, name = {}, ""
    for line in re.sub(r"\\\n\s*", "", path.read_text()).splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = Stage(parent, ())
        elif instruction.isupper() and name in found:
            found[name] = Stage(found[name].parent, (*found[name].lines, (instruction, rest.strip())))
    return found


def lineage(service):
    """Return the stages that an image of `service` is made of, the first one first."""
    made, name = [stages()["image"]], service
    while name in stages():
        made.insert(0, stages()[name])
        name = stages()[name].parent
    return made


def rendered(overlay, folder):
    """Return the documents of an overlay, from a copy of k8s/ in `folder` with secrets."""
    shutil.copytree(ROOT / "k8s", folder / "k8s", ignore=shutil.ignore_patterns("secrets"))
    subprocess.run(["sh", ROOT / "deploy/secrets.sh", folder / "k8s/overlays/dev/secrets"], check=True)
    command = ["kubectl", "kustomize", folder / "k8s/overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))
