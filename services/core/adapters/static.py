"""The `static` embedder: a vector per piece of a word, summed over a text; no neural network runs.

The tables are whole numbers (float32 holding integers of at most 12 bits), so that a sum of pieces
is exact in any order: a text has the same vector on every machine and beside any other texts.
"""

import json
import threading
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3

from services.core.errors import CorruptData, NotFound
from services.core.texts import Texts, Words
from services.core.tokens import Ragged, Vocabulary
from services.core.versions import static_model_id

WEIGHTS_FILE = "model.safetensors"
VOCABULARY_FILE = "vocab.txt"
CONFIG_FILE = "config.json"
# The shipped model has 33,000 pieces; a forged header must not make us allocate more than this.
_MAX_BYTES = 256 << 20
_CONTINUED = "##"


@dataclass(frozen=True, slots=True)
class StaticModel:
    """Row i of `table`, float32[pieces, dim] of whole numbers, belongs to the piece numbered i in `pieces`."""

    name: str
    digest: str
    pieces: dict[str, int]
    table: np.ndarray


def load_model(folder: Path) -> StaticModel:
    """Read a static model and verify it.

    Raises:
        NotFound: the folder or one of its files is missing.
        CorruptData: the files are not those the model was published with.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_bytes())
        weights = (folder / WEIGHTS_FILE).read_bytes()
        vocabulary = (folder / VOCABULARY_FILE).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"the static model lacks {error.filename!r}; run 'make model' or set QUARRY_MODEL") from error
    except (OSError, ValueError) as error:
        raise CorruptData(f"the static model in {str(folder)!r} can't be read: {error}") from error
    try:
        return _assemble(config, weights, vocabulary)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptData(f"the static model in {str(folder)!r} is damaged: {error}; run 'make model'") from error


def model_digest(weights: bytes, vocabulary: bytes) -> str:
    """Return the digest by which a model is known: of its weights and its vocabulary."""
    return blake3(weights).update(vocabulary).hexdigest()


def _assemble(config: dict[str, object], weights: bytes, vocabulary: bytes) -> StaticModel:
    digest = model_digest(weights, vocabulary)
    if digest != config["digest"]:
        raise ValueError(f"its digest is {digest[:12]}, not {str(config['digest'])[:12]}")
    tensors = _tensors(weights)
    # In place: fresh pages cost more than the arithmetic, and this is on the way to everybody's first answer.
    table = tensors["table"].astype(np.float32)
    table *= tensors["scales"][:, None]
    np.rint(table, out=table)
    pieces = {piece: number for number, piece in enumerate(vocabulary.decode().splitlines())}
    if len(pieces) != len(table) or table.shape[1] != config["dim"]:
        raise ValueError(f"{len(pieces)} pieces and dimension {config['dim']}, but a table of {table.shape}")
    return StaticModel(str(config["name"]), digest, pieces, table)


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    """Read a safetensors file (https://github.com/huggingface/safetensors#format)."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    kinds: dict[str, np.dtype[np.generic]] = {"I8": np.dtype(np.int8), "F32": np.dtype("<f4")}
    tensors: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + at for at in entry["data_offsets"])
        if end > len(data) or end > _MAX_BYTES:
            raise ValueError(f"tensor {name!r} ends at byte {end} of {len(data)}")
        tensors[name] = np.frombuffer(data[start:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return tensors


class StaticEmbedder:
    """A static model, or the one in a folder, with what it knows of this process's words; safe for threads.

    Raises:
        NotFound: the folder or one of its files is missing.
        CorruptData: the files are not those the model was published with.
    """

    def __init__(self, source: StaticModel | Path) -> None:
        model = load_model(source) if isinstance(source, Path) else source
        self._pieces = model.pieces
        self._table = model.table
        self._lock = threading.Lock()
        self._seen: Vocabulary | None = None
        self._piece_ends, self._part_pieces = array("q", [0]), array("i")
        self.dim = model.table.shape[1]
        self.model_id = static_model_id(model.name, model.digest)
        # The axis of least variance: a text without a known word is like no other.
        self._wordless = np.eye(self.dim, dtype=np.float32)[-1]

    def embed(self, texts: Texts) -> np.ndarray:
        """Return float32[len(texts), dim], unit rows, bit for bit the same for equal texts."""
        rows, pieces, counts = self._counted(texts.words)
        ends = np.searchsorted(rows, np.arange(1, len(texts) + 1)).tolist()
        sums = np.zeros((len(texts), self.dim), dtype=np.float32)
        start = 0
        # A product per text: its 50 rows fit the first-level cache. Four to five times as fast here as
        # products of whole blocks with the pieces they share, ten times as `np.add.reduceat`.
        for row, end in enumerate(ends):
            np.dot(counts[start:end], self._table.take(pieces[start:end], axis=0), out=sums[row])
            start = end
        vectors = _unit(sums)
        vectors[~sums.any(axis=1)] = self._wordless
        return vectors

    def _counted(self, words: Words) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how often each piece is in each text: rows, pieces, counts, sorted by row and piece."""
        found = words.numbers.through(words.vocabulary.word_parts()).through(self._pieces_by_part(words.vocabulary))
        row = np.repeat(np.arange(len(found), dtype=np.uint64), found.lengths)
        keys = row << np.uint64(32) | found.values.astype(np.uint64)
        keys.sort()
        first = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
        counts = np.diff(first, append=len(keys)).astype(np.float32)
        return keys[first] >> np.uint64(32), (keys[first] & np.uint64(0xFFFFFFFF)).astype(np.intp), counts

    def _pieces_by_part(self, vocabulary: Vocabulary) -> Ragged:
        with self._lock:
            if vocabulary is not self._seen:
                self._seen = vocabulary
                self._piece_ends, self._part_pieces = array("q", [0]), array("i")
            for part in vocabulary.parts[len(self._piece_ends) - 1 :]:
                self._part_pieces.extend(cut(part, self._pieces))
                self._piece_ends.append(len(self._part_pieces))
            return Ragged(np.array(self._piece_ends), np.array(self._part_pieces, dtype=np.int32))


def cut(part: str, pieces: dict[str, int]) -> list[int]:
    """Return the numbers of the longest pieces that make up `part` from left to right, or none if they can't.

    WordPiece, as in Schuster and Nakajima, "Japanese and Korean Voice Search" (2012), and BERT.
    """
    found = []
    start = 0
    while start < len(part):
        for end in range(len(part), start, -1):
            number = pieces.get(_CONTINUED + part[start:end] if start else part[:end])
            if number is not None:
                break
        else:
            return []
        found.append(number)
        start = end
    return found


def _unit(sums: np.ndarray) -> np.ndarray:
    """Divide rows of whole numbers by their length, which float64 holds exactly before the root."""
    exact = sums.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    unit: np.ndarray = (exact / np.maximum(lengths, 1.0)[:, None]).astype(np.float32)
    return unit
