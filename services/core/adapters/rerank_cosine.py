"""The `onnx` and `triton` re-rankers: the cosine between a query and each text, by a transformer.

The vectors of texts are remembered in the embedding cache, or every search would wait a second for them.
"""

import re
from collections.abc import Sequence

import numpy as np

from services.core.digest import digest
from services.core.errors import Unavailable
from services.core.ports import Embedder, EmbeddingCache
from services.core.texts import Texts

# The model's tokeniser takes a camelCase name for one unknown word.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class CosineReranker:
    """Judges by the vectors of `embedder`; safe for threads if embedder and cache are."""

    def __init__(self, embedder: Embedder, cache: EmbeddingCache) -> None:
        self._embedder = embedder
        self._cache = cache

    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return float32[len(texts)], the cosine of each text and `query`; the same whether cached or not.

        Raises:
            Unavailable: the embedder fails, or returns what is no vector.
        """
        spaced = [_HUMP.sub(" ", text) for text in texts]
        keys = [digest(text.encode("utf-8", "replace")) for text in spaced]
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        known = self._cache.get(self._embedder.model_id, list(first))
        missing = [key for key in first if key not in known]
        # One batch: a server joins what comes together, and the query need not wait for its own turn.
        rows = self._embedder.embed(Texts([_HUMP.sub(" ", query), *(spaced[first[key]] for key in missing)]))
        if not np.isfinite(rows).all():
            raise Unavailable(f"embedder {self._embedder.model_id!r} returned a vector that is not finite")
        # As the cache will hold them.
        fresh = dict(zip(missing, rows[1:].astype("<f2").astype(np.float32), strict=True))
        self._cache.put(self._embedder.model_id, fresh)
        known |= fresh
        vectors = np.array([known[key] for key in keys], dtype=np.float32).reshape(len(keys), self._embedder.dim)
        cosines: np.ndarray = vectors @ rows[0]
        return cosines
