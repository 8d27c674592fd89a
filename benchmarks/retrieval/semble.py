"""semble 0.7, the peer, asked the same questions over the same trees, with a static model of Quarry's size.

It runs in the environment that the speed benchmark makes for it. Its own code-tuned model would have to
come from a model hub; the one it gets is distilled from all-MiniLM-L6-v2 to 256 dimensions, without training.
Several repositories are searched as it does it: their indexes merged.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.retrieval.pools import Hit, Pool
from benchmarks.retrieval.scoring import DEPTH
from benchmarks.speed.semble import environment
from models import distill
from services.core.adapters.onnx import model_files
from services.core.settings import Settings

NAME = "semble 0.7"
_DIMENSIONS = 256

_PROGRAM = """
import json, sys
from pathlib import Path
from semble.index.index import SembleIndex

order = json.load(sys.stdin)
built = {}

def index(path):
    if path not in built:
        built[path] = SembleIndex.from_path(Path(path), model_path=order["model"])
    return built[path]

def answers(pool):
    paths = {str(Path(path).resolve()): name for path, name in pool["trees"]}
    if len(paths) == 1:
        [(path, name)] = paths.items()
        searched, names = index(path), {"": name}
    else:
        searched = SembleIndex.merge([(path, index(path)) for path in paths])
        names = {label: paths[source] for label, source in searched.sources.items()}
    found = []
    for question in pool["questions"]:
        hits = []
        for each in searched.search(question, top_k=order["depth"]):
            label, _, path = ("", "", each.chunk.file_path) if "" in names else each.chunk.file_path.partition("/")
            hits.append([names[label], path, each.chunk.start_line, each.chunk.end_line])
        found.append(hits)
    return found

if __name__ == "__main__":
    json.dump([answers(pool) for pool in order["pools"]], sys.stdout)
"""


class PeerFailed(Exception):
    """The peer did not answer; the message holds what it said."""


def answers(bench: Path, pools: Sequence[Pool]) -> list[list[list[Hit]]]:
    """Return semble's first ten hits for each question of each pool.

    Raises:
        PeerFailed: it ended with an error.
    """
    asked = [
        {
            "trees": [(str(tree.path), tree.name) for tree in pool.trees],
            "questions": [question.text for question in pool.questions],
        }
        for pool in pools
    ]
    order = json.dumps({"model": str(model(bench)), "depth": DEPTH, "pools": asked})
    env = {**os.environ, "SEMBLE_CACHE_LOCATION": str(bench / "homes" / "semble-cache"), "HF_HUB_OFFLINE": "1"}
    command = [str(environment(bench)), "-c", _PROGRAM]
    ran = subprocess.run(command, input=order, env=env, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise PeerFailed(f"semble ended with status {ran.returncode}: {ran.stderr[-1000:]}")
    return [[[Hit(*hit) for hit in hits] for hits in found] for found in json.loads(ran.stdout)]


def model(bench: Path) -> Path:
    """Return the folder of the peer's model in Model2Vec's format, made once: a row for each piece of MiniLM."""
    folder = bench / "semble-256"
    if not (folder / "config.json").exists():
        files = model_files(Settings())
        distill.check_source(files)
        pieces = distill.useful_pieces(files.tokenizer)
        numbers = np.array(list(pieces.values()))
        tokenizer = json.loads(files.tokenizer.read_text()) | {"truncation": None, "padding": None}
        table = np.zeros((len(tokenizer["model"]["vocab"]), _DIMENSIONS), dtype=np.float32)
        table[numbers] = distill.weigh(distill.reduce(distill.piece_vectors(files, numbers), _DIMENSIONS))
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"embeddings": table}, folder / "model.safetensors")
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        (folder / "config.json").write_text(json.dumps({"normalize": True, "hidden_dim": _DIMENSIONS}))
    return folder
