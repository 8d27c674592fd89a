"""What an epoch shows of each pair: a question and a piece of code."""

import re
from collections.abc import Sequence

import numpy as np

from models.bags import Bagger
from models.comments import first_sentence
from models.pairs import Pair, masked
from services.core.tokens import Ragged, offsets

# A comment states, a person asks: without these, the words of a question would count as content.
TEMPLATES = (
    "how does {} work",
    "where is the code that {}",
    "how to {}",
    "which function {}",
    "{} implementation",
    "where do we {}",
    "how is {} implemented",
    "find the code for {}",
    "function to {}",
    "{} handling",
    "what handles {}",
    "how are {} handled",
)
TEMPLATE_SHARE = 1 / 3
MASK_SHARE = 0.5
SENTENCE_SHARE = 0.7
_THIRD_PERSON = re.compile(r"^(\w{2,}[^s\W])s\b")


class Samples:
    """The bags of every form of each pair, cut once; an epoch draws one of each."""

    def __init__(self, pairs: Sequence[Pair], bagger: Bagger) -> None:
        random = np.random.default_rng(0)
        asked = [
            _asked(pair, number)
            for pair, number in zip(pairs, random.integers(len(TEMPLATES), size=len(pairs)), strict=True)
        ]
        self._queries = [bagger.bags([texts[form] for texts in asked]) for form in range(3)]
        self._documents = [bagger.bags([pair.code for pair in pairs]), bagger.bags([masked(pair) for pair in pairs])]

    def draw(self, random: np.random.Generator) -> tuple[Ragged, Ragged]:
        """Return a query and a document of each pair."""
        count = len(self._documents[0])
        form = np.where(random.random(count) < SENTENCE_SHARE, 0, 1)
        form[random.random(count) < TEMPLATE_SHARE] = 2
        hidden = (random.random(count) < MASK_SHARE).astype(np.int64)
        return mixed(self._queries, form), mixed(self._documents, hidden)


def mixed(forms: Sequence[Ragged], chosen: np.ndarray) -> Ragged:
    """Return row i of ``forms[chosen[i]]`` for every i."""
    count = len(forms[0])
    values = np.concatenate([form.values for form in forms])
    shifts = np.cumsum([0, *(len(form.values) for form in forms)])
    starts = np.stack([form.indptr[:-1] + shift for form, shift in zip(forms, shifts, strict=False)])
    rows = np.arange(count)
    lengths = np.stack([form.lengths for form in forms])[chosen, rows]
    indptr = offsets(lengths)
    at = np.repeat(starts[chosen, rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
    return Ragged(indptr, values[at])


def _asked(pair: Pair, template: int) -> tuple[str, str, str]:
    sentence = first_sentence(pair.text)
    plain = _THIRD_PERSON.sub(r"\1", sentence)
    return sentence, pair.text, TEMPLATES[template].format(plain[:1].lower() + plain[1:])
