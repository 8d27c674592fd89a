"""Questions whose answers are known, since the corpus they ask about is generated from a seed.

What occurs in one file only must lead to that file, and whatever is found must be what the corpus has at those lines.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from loadtest.corpus import generate
from loadtest.templates import LANGUAGES

# What a SearchUser asks, in order and for ever: the share of each kind is its share of this.
_PATTERN = "words identifier words filter words identifier words filter words {}"
KINDS = " ".join(_PATTERN.format(rare) for rare in ("lexical", "symbol", "semantic", "exact")).split()

_PHRASE = re.compile(r"\b[A-Z][a-z]+ the [a-z]+ [a-z]+ of each [a-z]+ [a-z]+\b")
_DEFINITION = re.compile(
    r"(?:\bdef|\bfn|\bfunction|\bfunc(?: \(\w+ \*\w+\))?|\bclass|\bstruct|\binterface|public int|static boolean) (\w+)"
)
_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]?[a-z]+")
# Of a file's code, to find it by meaning alone: a chunk is about 750 characters.
_PASSAGE_CHARS = 350
# In two parts or fewer, a name is like many others; in three, it is rare enough to be asked for.
_MIN_NAME_CHARS = 14
_LANGUAGE_OF = {language.extension: language.name for language in LANGUAGES}
LIMIT = 10


@dataclass(frozen=True, slots=True)
class Size:
    """How much is generated: so many repositories of so many files."""

    repos: int
    files: int
    mean_bytes: int
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Corpus:
    """The texts of each repository, by path."""

    repos: dict[str, dict[str, str]]

    @classmethod
    def make(cls, size: Size, prefix: str) -> "Corpus":
        """Generate the repositories ``<prefix>-0`` and so on."""
        numbers = range(size.repos)
        return cls({f"{prefix}-{n}": dict(generate(size.files, size.seed + n, size.mean_bytes)) for n in numbers})


@dataclass(frozen=True, slots=True)
class Question:
    """A search request, and the file that answers it; `matches` is how often an exact search must find it."""

    kind: str
    repo: str
    path: str
    parameters: dict[str, str]
    matches: int | None = None


@dataclass(frozen=True, slots=True)
class _Fact:
    text: str
    repo: str
    path: str
    times: int


@dataclass(frozen=True, slots=True)
class _Facts:
    names: list[_Fact] = field(default_factory=list)
    words: list[_Fact] = field(default_factory=list)
    passages: list[_Fact] = field(default_factory=list)


def ask(corpus: Corpus, seed: int) -> Iterator[Question]:
    """Return questions without end, in the order of `KINDS`."""
    # Now, not at the first question: that would hold up all users of a load generator, and then let them go at once.
    facts = _facts(corpus)
    rng = random.Random(seed)
    return (_question(kind, facts, rng) for kind in cycle(KINDS))


def fault(question: Question, answer: dict[str, Any], corpus: Corpus, moving: frozenset[str] = frozenset()) -> str:
    """Say what is wrong with an answer that has the form it should have, "" if nothing is.

    `moving` names repositories that change meanwhile, whose hits are not compared with the corpus.
    """
    if answer["query"] != question.parameters["q"] or len(answer["hits"]) > LIMIT:
        return "the answer is to another question"
    if answer["damaged"] or answer["truncated"]:
        return "the answer is damaged or cut short"
    for hit in answer["hits"]:
        if hit["repo"] not in moving and (wrong := _wrong(hit, corpus) or _outside(hit, question.parameters)):
            return f"{wrong}: {hit['repo']}/{hit['path']}:{hit['start_line']}"
    if question.matches is not None and answer["matches"] != question.matches:
        return f"{answer['matches']} matches, the corpus has {question.matches}"
    return ""


def found(question: Question, answer: dict[str, Any]) -> bool:
    """Whether the file that answers the question is among the hits."""
    return (question.repo, question.path) in [(hit["repo"], hit["path"]) for hit in answer["hits"]]


def _wrong(hit: dict[str, Any], corpus: Corpus) -> str:
    text = corpus.repos.get(hit["repo"], {}).get(hit["path"])
    if text is None:
        return "a file that the corpus does not have"
    lines = text.split("\n")[hit["start_line"] - 1 : hit["end_line"]]
    if not hit["text"].strip() or hit["text"].strip("\n") not in "\n".join(lines):
        return "a text that the file does not have there"
    return ""


def _outside(hit: dict[str, Any], parameters: dict[str, str]) -> str:
    language = _LANGUAGE_OF[hit["path"].rpartition(".")[2]]
    if hit["language"] != language or parameters.get("lang", language) != language:
        return "a hit in another language"
    if not hit["path"].startswith(parameters.get("path", "").removesuffix("**")):
        return "a hit outside the path"
    return "" if parameters.get("repo", hit["repo"]) == hit["repo"] else "a hit in another repository"


def _facts(corpus: Corpus) -> _Facts:
    """Return what occurs in one file only: names of definitions, and what is said beside them."""
    files = [(repo, path, text) for repo, texts in corpus.repos.items() for path, text in texts.items()]
    known = Counter(word for _, _, text in files for word in {_plain(word) for word in _WORD.findall(text)})
    facts = _Facts()
    for repo, path, text in files:
        names = [match for match in _DEFINITION.finditer(text) if known[_plain(match[1])] == 1]
        rare = [match for match in names if len(match[1]) >= _MIN_NAME_CHARS]
        for name in rare:
            facts.names.append(_Fact(name[1], repo, path, text.count(name[1])))
        for phrase in _PHRASE.finditer(text) if rare else ():
            nearest = min(rare, key=lambda name: abs(name.start() - phrase.start()))
            spoken = " ".join(part.lower() for part in _PART.findall(nearest[1]))
            facts.words.append(_Fact(f"{phrase[0]}: {spoken}", repo, path, 1))
            facts.passages.append(_Fact(text[phrase.start() :][:_PASSAGE_CHARS], repo, path, 1))
    return facts


def _plain(word: str) -> str:
    """Return a name as search engines see it: without case and joints."""
    return word.replace("_", "").lower()


def _question(kind: str, facts: _Facts, rng: random.Random) -> Question:
    by_kind = {"words": facts.words, "filter": facts.words, "semantic": facts.passages}
    fact = rng.choice(by_kind.get(kind, facts.names))
    parameters = {"q": fact.text, "limit": str(LIMIT)}
    if kind == "filter":
        parameters |= rng.choice(_filters(fact))
    elif kind not in ("words", "identifier"):
        parameters["mode"] = kind
    return Question(kind, fact.repo, fact.path, parameters, matches=fact.times if kind == "exact" else None)


def _filters(fact: _Fact) -> list[dict[str, str]]:
    language = _LANGUAGE_OF[fact.path.rpartition(".")[2]]
    return [{"repo": fact.repo}, {"lang": language}, {"path": f"{fact.path.partition('/')[0]}/**"}]
