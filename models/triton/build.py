"""Make the Triton model repository: ``python -m models.triton.build --backend onnxruntime|python --into DIR``.

The model is the graph that the `onnx` embedder runs, its weights beside it, under a version number derived
from its id. The `onnxruntime` backend is that of the public Triton images; the `python` backend runs the same
graph in ONNX Runtime for Python, where that backend is all there is.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from models.triton.config import Deployment, config_text
from services.core.adapters.minilm_graph import Encoder, build_graph, stored_tensors
from services.core.adapters.triton_model import MODEL, version_of
from services.core.errors import CorruptData, QuarryError
from services.core.model_files import ModelFiles, identity, model_files, read_config
from services.core.model_pull import SHA256
from services.core.settings import Settings

_PYTHON_MODEL = Path(__file__).with_name("python_model.py")
GRAPH_FILE = "model.onnx"
# 128 texts of 256 tokens take about 1.5 GB of a GPU by arithmetic; on two cores 16 run for 0.7 s, which is how
# long a query may have to wait for them.
MAX_TEXTS = {"gpu": 128, "cpu": 16}
# On two cores half a minute of bulk work. What does not fit is refused, and its client comes again.
MAX_QUEUE = {"gpu": 256, "cpu": 32}


def build(files: ModelFiles, into: Path, deployment: Deployment) -> Path:
    """Write the model into the repository `into` and return its folder; one that is there is replaced.

    Raises:
        CorruptData: the weights are not the published ones.
    """
    _check(files)
    made = identity(files)
    into.mkdir(parents=True, exist_ok=True)
    folder = into / MODEL
    with tempfile.TemporaryDirectory(dir=into, prefix=".") as name:
        # Made beside its place and moved there: a server that starts meanwhile sees all of it or nothing.
        work = Path(name, MODEL)
        version = work / version_of(made.model_id)
        version.mkdir(parents=True)
        graph = build_graph(
            Encoder.from_config(read_config(files.config)), files.weights.name, stored_tensors(files.weights)
        )
        (version / GRAPH_FILE).write_bytes(graph)
        shutil.copyfile(files.weights, version / files.weights.name)
        if deployment.backend == "python":
            shutil.copyfile(_PYTHON_MODEL, version / "model.py")
        (work / "config.pbtxt").write_text(config_text(made, deployment))
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    return folder


def _check(files: ModelFiles) -> None:
    with files.weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256[files.weights.name]:
        raise CorruptData(
            f"{str(files.weights)!r} has SHA-256 {found}, the published model has {SHA256[files.weights.name]}; "
            "fetch it again with 'quarry model pull'"
        )


def positive(text: str) -> int:
    """Return a number of 1 or more.

    Raises:
        ValueError: it is less, or no number.
    """
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main(arguments: list[str] | None = None) -> int:
    """Build as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m models.triton.build", description=__doc__)
    parser.add_argument("--backend", choices=("onnxruntime", "python"), required=True)
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="the model repository")
    parser.add_argument("--device", choices=("gpu", "cpu"), help="default: gpu for onnxruntime, cpu for python")
    parser.add_argument("--max-texts", type=positive, help="that run together, default 128 on gpu, 16 on cpu")
    parser.add_argument("--max-queue", type=positive, help="requests that wait, default 256 on gpu, 32 on cpu")
    parser.add_argument("--instances", type=positive, default=1, help="executions side by side, default 1")
    given = parser.parse_args(arguments)
    device = given.device or ("gpu" if given.backend == "onnxruntime" else "cpu")
    max_texts, max_queue = given.max_texts or MAX_TEXTS[device], given.max_queue or MAX_QUEUE[device]
    deployment = Deployment(given.backend, device, max_texts, given.instances, max_queue)
    try:
        print(build(model_files(Settings.from_env()), given.into, deployment))
    except QuarryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
