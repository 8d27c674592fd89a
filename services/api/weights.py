"""Weights of the ranking rules: one frozen table, so that any rule can be changed or switched off by itself.

A boost is added in units of the best fused score (1.0) and 0 switches it off; a factor multiplies and 1
switches it off. How they were fitted, and what each is worth, is in docs/adr/0018-ranking-by-measured-rules.md.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Weights:
    """What each rule weighs; the defaults are what searches use.

    dense, sparse, definitions: the lists of candidates in the fusion, for a query of words. dense_symbol,
    sparse_symbol: the same for a query that is one identifier. lexical_score: what scores add to ranks.
    The rest are boosts and factors by the name under which a hit's explanation shows them.
    """

    # An identifier is found by its letters; a question by either, but the static model is the weaker of the
    # two on words it never saw together.
    dense: float = 0.85
    sparse: float = 1.3
    dense_symbol: float = 0.6
    sparse_symbol: float = 1.4
    # Chunks that define a name of the query must at least be candidates.
    definitions: float = 0.25
    # 1: files whose names have words of the query are candidates, whatever their texts say; the rules decide then.
    files: float = 1.0
    # The share of the best lexical score, beside the ranks.
    lexical_score: float = 0.4

    # A definition of the very name asked for beats whatever only mentions it, in every list.
    defines: float = 1.5
    # All words of the query in the path. Lexical search knows the path too; this is what it leaves over.
    path: float = 0.5
    # All words of the file's own name in the query.
    subject: float = 0.5
    # All words of the query in the names that the chunk defines or lies in.
    name: float = 0.3
    # All words of one defined name in the query.
    title: float = 0.15
    # All words of the innermost name that the chunk lies in, in the query.
    symbol: float = 0.2
    # All words of the query in the names or the path of the chunk, words that few candidates have counting more.
    cover: float = 0.35
    # The same for all candidates of the file together.
    file_cover: float = 0.4
    # The file that has most of the fused score.
    coherence: float = 0.3
    # The query names the repository.
    repo: float = 0.8
    # The query asks for this kind of file.
    asked: float = 0.2

    # Factors of kinds of file, unless the query asks for them.
    test: float = 0.3
    docs: float = 0.6
    config: float = 0.5
    example: float = 0.3
    generated: float = 0.4
    vendored: float = 0.3
    # A part that defines nothing of a file that only passes on what others define.
    reexport: float = 0.5
    # Something deprecated, or a benchmark.
    aside: float = 0.7
    # A port to one platform.
    platform: float = 0.7
    # An older version that stands beside the newer one.
    older: float = 0.7
    # A header or type declaration whose implementation is a candidate too.
    declaration: float = 0.8
    # Each further chunk of a file counts this much of the one before.
    same_file: float = 0.7

    def of_kind(self, kind: str) -> float:
        """Return the factor of a kind of file."""
        return float(getattr(self, kind)) if kind in _KINDS else 1.0

    def without(self, rule: str) -> "Weights":
        """Return the weights with one rule of `RULES` switched off."""
        return replace(self, **_OFF[rule])


_KINDS = ("test", "docs", "config", "example", "generated", "vendored")
BOOSTS = ("defines", "path", "subject", "name", "title", "symbol", "cover", "file_cover", "coherence", "repo", "asked")
FACTORS = ("kind", "reexport", "aside", "platform", "older", "declaration", "same_file")
_OFF: dict[str, dict[str, float]] = {
    "dense": {"dense": 0.0, "dense_symbol": 0.0},
    "sparse": {"sparse": 0.0, "sparse_symbol": 0.0},
    "definitions": {"definitions": 0.0},
    "files": {"files": 0.0},
    "lexical_score": {"lexical_score": 0.0},
}
_OFF |= {rule: {rule: 0.0} for rule in BOOSTS} | {rule: {rule: 1.0} for rule in FACTORS}
_OFF["kind"] = dict.fromkeys(_KINDS, 1.0)
RULES = tuple(sorted(_OFF))
DEFAULT = Weights()
