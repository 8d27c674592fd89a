"""An embedding cache in a dictionary."""

import numpy as np


class MemoryCache:
    """An EmbeddingCache that forgets nothing but what float16 can't hold."""

    def __init__(self):
        self.rows = {}
        self.hits = self.misses = 0

    def get(self, model, digests):
        found = {d: self.rows[model, d].astype(np.float32) for d in digests if (model, d) in self.rows}
        self.hits += len(found)
        self.misses += len(set(digests)) - len(found)
        return found

    def put(self, model, vectors):
        self.rows |= {(model, d): vector.astype(np.float16) for d, vector in vectors.items()}

    def stats(self):
        return {
            "entries": len(self.rows),
            "size_bytes": sum(row.nbytes for row in self.rows.values()),
            "limit_bytes": 1 << 40,
            "hits": self.hits,
            "misses": self.misses,
            "hit_rate": self.hits / (self.hits + self.misses) if self.hits else 0.0,
        }

    def clear(self):
        self.rows.clear()
        self.hits = self.misses = 0
