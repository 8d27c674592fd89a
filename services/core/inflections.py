"""Inflections: the forms in which an English word may stand in code, made by rules from one of them.

For a query only: what is indexed is the words as they are, so a form that no text has costs nothing but a look-up.
"""

_SUFFIXES = ("ing", "ed", "er", "or", "ion")
_SHORTEST_STEM = 3
_SHORTEST_VERB = 4


def inflections(word: str) -> frozenset[str]:
    """Return other forms of a lower-case word (parses, parsing → parse, parser, …), some of which are no words."""
    if not (word.isascii() and word.isalpha()) or len(word) < _SHORTEST_STEM:
        return frozenset()
    forms = _singulars(word) or {f"{word}s"}
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            forms |= _roots(word.removesuffix(suffix))
    if len(word) >= _SHORTEST_VERB and not word.endswith("ing"):
        root = word.removesuffix("e")
        forms |= {f"{root}ing", f"{root}ed", f"{root}er"}
    return frozenset(form for form in forms if len(form) >= _SHORTEST_STEM) - {word}


def _singulars(word: str) -> set[str]:
    """Return what `word` is the plural of (or the third person), none if it is none."""
    if not word.endswith("s") or word.endswith("ss"):
        return set()
    forms = {word[:-1]}
    if word.endswith("es") and len(word) > _SHORTEST_VERB:
        forms.add(word[:-2])
    if word.endswith("ies") and len(word) > _SHORTEST_VERB:
        forms.add(f"{word[:-3]}y")
    return forms


def _roots(stem: str) -> set[str]:
    """Return what a stem without its suffix may come from: itself, with an e, without a doubled letter."""
    return {stem, f"{stem}e"} | ({stem[:-1]} if stem[-1] == stem[-2] else set())
