"""A hit's score as a person reads it: what was added, what that was multiplied by, what a re-ranker changed."""

from collections.abc import Mapping

from services.api.weights import FACTORS

# Added last, by whoever judges the first hits once more.
_AFTERWARDS = "rerank"


def explain(rules: Mapping[str, float]) -> str:
    """Return the rules that did something as one sum, the largest first: ``(fused 1.00 + path 0.25) x kind 0.30``."""
    added = {rule: value for rule, value in rules.items() if rule not in FACTORS and rule != _AFTERWARDS and value}
    ordered = sorted(added.items(), key=lambda item: (-item[1], item[0]))
    parts = " + ".join(f"{rule} {value:.2f}" for rule, value in ordered) or "0.00"
    factors = "".join(f" x {rule} {rules[rule]:.2f}" for rule in FACTORS if rules.get(rule, 1.0) != 1.0)
    afterwards = f" {rules[_AFTERWARDS]:+.2f} rerank" if rules.get(_AFTERWARDS) else ""
    return (f"({parts})" if factors else parts) + factors + afterwards
