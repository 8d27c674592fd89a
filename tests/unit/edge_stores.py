"""A small embedded vector store, and what it lists and keeps in its directory."""

import json

from services.core.adapters.vectors import EdgeVectors
from tests.contract.test_vectors_contract import DIM


def open_store(directory, shard_points=40, exact_points=100_000):
    return EdgeVectors(directory, DIM, shard_points=shard_points, exact_points=exact_points)


def names(count, tag=""):
    return [f"{tag}{i}.py" for i in range(count)]


def listed(directory):
    return [
        (row["name"], row["sealed_points"]) for row in json.loads((directory / "shards.json").read_text())["shards"]
    ]


def folders(directory):
    return {path.name for path in directory.iterdir() if path.is_dir()}
