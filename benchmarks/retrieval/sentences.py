"""The first sentence of a doc comment, as a person might ask it: without markup, tags and the function's own name."""

import re

_MARKERS = re.compile(r"^\s*(?:/\*\*?|\*(?!\*)|//[/!]?)[ \t]?|\s*\*/\s*$")
# What follows the description: tags, parameters, sections, examples, code.
_ENDS = re.compile(
    r"^\s*(?:@|:\w+[^:]*:|\.\. |>>>|```|~~~|#|---|===|\$|<pre|<ul|<table|\|)"
    r"|^\s*(?:args|arguments|parameters|params|returns?|raises|examples?|usage|notes?|see also|yields)\s*:?\s*$",
    re.IGNORECASE,
)
_MARKUP = (
    (re.compile(r"\{@\w+\s+([^}]*)\}"), r"\1"),
    (re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])?"), r"\1"),
    (re.compile(r":[\w:]+:`~(?:[\w.]*\.)?(\w+)[^`]*`"), r"\1"),
    (re.compile(r":[\w:]+:`~?\.?([^`<]*)[^`]*`"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^>]*>"), " "),
    (re.compile(r"[`*]|\\[a-z]+\b"), ""),
    (re.compile(r"&[lg]t;|&\w+;"), " "),
    (re.compile(r"\s+"), " "),
)
_SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!vs)[.!?](?=\s|$)")
_WORD = re.compile(r"[A-Za-z][a-z]+|[A-Z]+(?![a-z])")
_SAYS_NOTHING = re.compile(
    r"^(?:deprecated|see |same as|alias|equivalent to|inherit|todo|fixme|internal|copyright|like )", re.IGNORECASE
)
_STOP_WORDS = """
an and any are as at be been by can do does each for from get gets given has have if in into is it its may must new
not of on or return returns set sets so such that the their then this to use used using value was when where
whether which will with
"""
_LEAST_WORDS, _MOST_WORDS = 4, 40
_LEAST_CONTENT, _LEAST_BEYOND_NAME = 3, 2


def question(comment: str, name: str, *, drop_name: bool) -> str:
    """Return the first sentence of the doc comment of a function called `name`, "" if it says too little.

    With `drop_name` it is taken from the sentence's beginning.
    """
    sentence = first_sentence(comment)
    sentence = _without_name(sentence, name) if drop_name else sentence
    return sentence if _says_enough(sentence, name) else ""


def first_sentence(comment: str) -> str:
    """Return the first sentence of a comment, markup removed."""
    lines: list[str] = []
    for line in comment.splitlines():
        plain = _MARKERS.sub("", _MARKERS.sub("", line)).strip()
        if _ENDS.match(plain) or (lines and not plain):
            break
        if plain:
            lines.append(plain)
    text = " ".join(lines)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    end = _SENTENCE_END.search(text)
    return (text[: end.start()] if end else text).strip(" .:;-")


def words(text: str) -> list[str]:
    """Return the lower-case words of at least two letters, names split into theirs."""
    return [word.lower() for word in _WORD.findall(text) if len(word) > 1]


def _without_name(sentence: str, name: str) -> str:
    return re.sub(rf"^(?:(?:the|function|method)\s+)?{re.escape(name)}\b(?:\(\))?\s*[:-]?\s*", "", sentence, flags=re.I)


def _says_enough(sentence: str, name: str) -> bool:
    found = words(sentence)
    content = {word for word in found if word not in _STOP_WORDS.split()}
    beyond = {word for word in content if not any(_same_word(word, part) for part in words(name))}
    enough = len(content) >= _LEAST_CONTENT and len(beyond) >= _LEAST_BEYOND_NAME
    letters = sum(char.isascii() and char.isalpha() for char in sentence)
    return (
        enough
        and _LEAST_WORDS <= len(found) <= _MOST_WORDS
        and 3 * letters > 2 * len(sentence)
        and not _SAYS_NOTHING.match(sentence)
    )


def _same_word(word: str, part: str) -> bool:
    return word.startswith(part) or part.startswith(word)
