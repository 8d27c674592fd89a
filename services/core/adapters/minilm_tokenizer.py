"""Text to the tokens of MiniLM, cut at what the model reads, and tokens to the arrays that its graph takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from services.core.errors import CorruptData
from services.core.model_files import MAX_TOKENS


def open_tokenizer(path: Path) -> Tokenizer:
    """Return the tokeniser in a file, set up for the model; safe for threads.

    Raises:
        CorruptData: the file can't be read.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise CorruptData(f"tokeniser {str(path)!r} can't be read: {error}") from error
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def tokens_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each text, 2 to 256 of them; lone surrogates count as unknown characters."""
    encodings = tokenizer.encode_batch([text.encode("utf-8", "replace").decode() for text in texts])
    return [encoding.ids for encoding in encodings]


def padded(tokens: Sequence[Sequence[int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return input_ids and attention_mask, int64[len(tokens), width]; no row may have more than `width` tokens."""
    ids = np.zeros((len(tokens), width), dtype="<i8")
    mask = np.zeros_like(ids)
    for row, found in enumerate(tokens):
        ids[row, : len(found)] = found
        mask[row, : len(found)] = 1
    return ids, mask
