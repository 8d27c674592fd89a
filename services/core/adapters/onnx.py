"""The `onnx` embedder: all-MiniLM-L6-v2 in ONNX Runtime, on CPU or GPU."""

import re
from collections.abc import Sequence

import numpy as np
import onnxruntime

from services.core.adapters.minilm_graph import Encoder, build_graph, stored_tensors
from services.core.adapters.minilm_tokenizer import open_tokenizer, padded, tokens_of
from services.core.batch import TokenBudget, token_batches
from services.core.errors import CorruptData, InvalidRequest, Unavailable
from services.core.model_files import MAX_TOKENS, ModelFiles, identity, model_files, read_config
from services.core.texts import Texts

__all__ = ["CPU", "ModelFiles", "OnnxEmbedder", "model_files", "open_model", "providers"]

CPU = ("CPUExecutionProvider",)
# A GPU runs what it has no kernel for on the CPU.
_PROVIDERS = {"cpu": CPU, "cuda": ("CUDAExecutionProvider", *CPU)}
# One batch: 16 texts of full length on CPU, where larger ones are no faster on two cores and hold more memory;
# 256 on a GPU: about 3 GB by arithmetic, and halved where there is less.
_BUDGET_TOKENS = {"CPUExecutionProvider": 4096, "CUDAExecutionProvider": 65536}
# What ONNX Runtime and CUDA say when an allocation fails.
_NO_MEMORY = re.compile(r"out of memory|failed to allocate|bad.?alloc|CUDA failure 2\b|ALLOC_FAILED", re.IGNORECASE)


def providers(name: str) -> tuple[str, ...]:
    """Return the execution providers for ``cpu`` or ``cuda``, the one asked for first.

    Raises:
        InvalidRequest: there is no such name.
    """
    if name not in _PROVIDERS:
        raise InvalidRequest(f"ONNX Runtime provider {name!r} is unknown; use one of {sorted(_PROVIDERS)}")
    return _PROVIDERS[name]


def open_model(
    files: ModelFiles, *, threads: int = 0, providers: tuple[str, ...] = CPU
) -> "onnxruntime.InferenceSession":
    """Return a session for the graph of `minilm_graph`; `threads` 0 means one per core.

    Raises:
        CorruptData: a file is not what it should be.
        Unavailable: the session did not get the first of `providers`.
    """
    if providers[0] == "CUDAExecutionProvider":
        # Finds CUDA and cuDNN where pip put them, if they are not installed on the machine.
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A graph given as bytes has no folder of its own to look for its weights in.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(files.folder))
    encoder = Encoder.from_config(read_config(files.config))
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

    def __init__(self, files: ModelFiles, *, threads: int = 0, providers: tuple[str, ...] = CPU) -> None:
        self._identity = identity(files)
        self._tokenizer = open_tokenizer(files.tokenizer)
        self._session = open_model(files, threads=threads, providers=providers)
        self._budget = TokenBudget(_BUDGET_TOKENS.get(providers[0], _BUDGET_TOKENS[CPU[0]]))
        # The first runs allocate; a user should not wait for that.
        for text in ("warm", "warm up " * MAX_TOKENS):
            self.embed(Texts([text]))

    @property
    def model_id(self) -> str:
        """Name of the model with the digest of its weights."""
        return self._identity.model_id

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._identity.dim

    def embed(self, texts: Texts) -> np.ndarray:
        """Return float32[len(texts), dim], unit rows; only the first 256 tokens of a text count."""
        tokens = tokens_of(self._tokenizer, texts.texts)
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        self._fill(vectors, tokens, list(range(len(texts))))
        return vectors

    def _fill(self, vectors: np.ndarray, tokens: Sequence[Sequence[int]], among: list[int]) -> None:
        """Fill the rows `among` of `vectors`, in smaller batches where the device has no memory for larger ones."""
        for part in token_batches([len(tokens[row]) for row in among], self._budget.tokens):
            rows = [among[number] for number in part]
            try:
                vectors[rows] = self._run([tokens[row] for row in rows])
            except _OutOfMemoryError as error:
                if len(rows) == 1:
                    raise Unavailable(str(error)) from error
                self._budget.refused(len(rows) * max(len(tokens[row]) for row in rows))
                self._fill(vectors, tokens, rows)
            else:
                self._budget.taken()

    def _run(self, tokens: Sequence[Sequence[int]]) -> np.ndarray:
        ids, mask = padded(tokens, max(map(len, tokens)))
        try:
            (vectors,) = self._session.run(["vectors"], {"input_ids": ids, "attention_mask": mask})
        except Exception as error:  # ONNX Runtime's exceptions share no other base
            text = f"ONNX Runtime failed on {ids.shape[0]} texts of {ids.shape[1]} tokens: {error}"
            raise (_OutOfMemoryError if _NO_MEMORY.search(str(error)) else Unavailable)(text) from error
        result: np.ndarray = vectors
        return result


class _OutOfMemoryError(Exception):
    """The device has no room for a batch."""
