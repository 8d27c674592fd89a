"""Re-ranking: the first hits of a list judged once more, by a model too slow to judge every candidate."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from services.api.query import is_symbol
from services.api.ranking import Ranked
from services.core.errors import Unavailable
from services.core.payload import StoredChunk
from services.core.ports import Reranker

log = logging.getLogger(__name__)

# What a cosine 1.0 above the others' mean is worth, in units of the best score. Cosines of good and bad hits
# differ by about 0.3.
_WEIGHT = 0.7


class Judge:
    """A re-ranker and how many of a list's first hits it judges."""

    def __init__(self, reranker: Reranker, depth: int) -> None:
        self._reranker = reranker
        self._depth = depth

    def order(self, query: str, ranked: Sequence[Ranked], text_of: Callable[[StoredChunk], str | None]) -> list[Ranked]:
        """Return `ranked`, best first, once the first of it have been judged; `text_of` says None for a damaged text.

        An identifier is found by its letters and isn't judged. A list that can't be judged now stays as it is.
        """
        if is_symbol(query.strip()):
            return list(ranked)
        judged = [(hit, text) for hit in ranked[: self._depth] if (text := text_of(hit.chunk)) is not None]
        if not judged:
            return list(ranked)
        try:
            scores = self._reranker.scores(query, [_seen(hit, text) for hit, text in judged])
        except Unavailable as error:
            log.warning("rerank_failed", extra={"error": str(error)})
            return list(ranked)
        boosts = _WEIGHT * ranked[0].score * (scores - scores.mean())
        changed = {id(hit): float(boost) for (hit, _), boost in zip(judged, boosts, strict=True)}
        return sorted((_boosted(hit, changed.get(id(hit), 0.0)) for hit in ranked), key=lambda hit: -hit.score)


def _seen(hit: Ranked, text: str) -> str:
    """Return what is judged: a function is better understood by where it stands."""
    return f"{hit.chunk.path}\n{hit.chunk.symbol}\n{text}"


def _boosted(hit: Ranked, boost: float) -> Ranked:
    return replace(hit, score=hit.score + boost, rules={**hit.rules, "rerank": boost}) if boost else hit
