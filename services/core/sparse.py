"""Sparse vectors: BM25 weights of the terms of a chunk, without IDF, which the vector store applies.

A chunk's terms are the words of its text and of its path, and in name spaces of their own the names it defines
(``def:``) and, if it is the first of its file, the names in its path (``file:``), so that a search for a symbol or
for a file's name is a sparse query like any other.
Weights: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009),
fields joined before saturation as in their BM25F.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from services.core.inflections import inflections
from services.core.ports import SparseRows
from services.core.texts import Texts
from services.core.tokens import Ragged, expand, offsets, term_index

_K1 = 1.2
_B = 0.75
# Words per chunk of the Python standard library, cut at about 1,300 characters. Fixed, so that a
# chunk's vector doesn't depend on what else is indexed.
_AVERAGE_WORDS = 138.0
# Only generated tables and lists of names have more distinct terms in one chunk.
_MAX_TERMS = 512

# Occurrences in the text that one occurrence in the path is worth. Higher values gain up to 0.01 NDCG@10
# on queries that were written from file names; ranking weighs paths again, so they stay moderate here.
_BODY, _FOLDER, _FOLDER_PART, _STEM, _STEM_PART = range(5)
_DEFINITION, _DEFINITION_JOINED, _DEFINITION_PART, _NAME, _NAME_PART, _NAME_FOLDER = range(5, 11)
_WORTH = np.array([1.0, 1.0, 0.5, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=np.float32)
# Definitions and names of files are not counted but there or not, whatever the length of the chunk.
_GIVEN = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.7, 0.3, 1.0, 0.7, 0.3], dtype=np.float32)

# File names that say nothing: their folder's name stands for them.
_NAMELESS = frozenset({"__init__", "__main__", "index", "init", "lib", "main", "mod", "readme"})
_LAST_NAME = re.compile(r"\w+\W*$")

# Words that a question has and code mostly doesn't mean; only dropped where something else is left.
_STOP_WORDS = """
an and any are as at be been by can code do does find for from get given has have how if implement implementation
implemented in into is it its of on or our show so such that the their them then there these they this those to use
used using via was we were what when where which while who why will with
"""
# Weight in a query of a form of a word that stands there in another.
_OTHER_FORM = 0.35

_Field = tuple[int, int]


def sparse_documents(texts: Texts, paths: Sequence[str], defines: Sequence[Sequence[str]]) -> SparseRows:
    """Return one row for each text, the texts of a file together: its words, its path's and the names it defines."""
    words = texts.words
    body = words.numbers.through(words.vocabulary.word_terms())
    keys = np.concatenate(
        (
            _keys(body, np.uint64(_BODY)),
            _field_keys([(path,) for path in paths], _path_fields),
            _field_keys(_first_of_files(paths), _file_fields),
            _field_keys(defines, _definition_fields),
        )
    )
    keys.sort()
    terms = keys >> np.uint64(8)
    first = np.flatnonzero(np.diff(terms, prepend=~terms[:1]))
    row = (terms[first] >> np.uint64(32)).astype(np.int64)
    values = _weights(keys, first, words.numbers.lengths[row])
    indptr = offsets(np.bincount(row, minlength=len(texts)))
    return _capped(SparseRows(indptr, terms[first].astype(np.uint32), values))


def sparse_query(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the terms of a query: indices uint32[m], sorted and unique, and values float32[m].

    A word made of parts weighs more whole; neighbouring words are also tried as one name, and plain words in
    other forms.
    """
    return _query(_query_terms(text))


def file_query(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the same query for files whose names have its words."""
    return _query({f"file:{term}": weight for term, weight in _query_terms(text).items()})


def _query_terms(text: str) -> dict[str, float]:
    words = re.findall(r"\w+", text)
    meant = [word for word in words if word.lower() not in _stop_words()] or words
    weights: dict[str, float] = {}
    for word in meant:
        terms, parts = expand(word)
        for term in terms:
            _raise_to(weights, term, 0.6 if term in parts and len(parts) > 1 else 1.0)
        for form in inflections(terms[0]) if len(terms) == 1 else ():
            _raise_to(weights, form, _OTHER_FORM)
    for left, right in pairwise(meant):
        _raise_to(weights, (left + right).replace("_", "").lower(), 0.4)
    return weights


def symbol_query(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the query for chunks that define `name`: exactly, then by its last name, then by its parts."""
    last = _LAST_NAME.search(name)
    weights: dict[str, float] = {}
    for candidate in (name, last.group() if last else ""):
        for term, weight in _definition_terms(candidate.strip()):
            _raise_to(weights, term, float(_GIVEN[weight]))
    return _query(weights)


@lru_cache(maxsize=1)
def _stop_words() -> frozenset[str]:
    return frozenset(_STOP_WORDS.split())


def _raise_to(weights: dict[str, float], term: str, weight: float) -> None:
    weights[term] = max(weight, weights.get(term, 0.0))


def _query(weights: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    by_index = sorted({term_index(term): weight for term, weight in weights.items()}.items())
    indices = np.array([index for index, _ in by_index], dtype=np.uint32)
    return indices, np.array([weight for _, weight in by_index], dtype=np.float32)


def _first_of_files(paths: Sequence[str]) -> list[tuple[str, ...]]:
    return [(path,) if path != before else () for before, path in zip(("", *paths), paths, strict=False)]


def _path_fields(path: str) -> list[_Field]:
    folders, stem = _named(path)
    fields = _name_fields(stem, _STEM, _STEM_PART)
    for folder in folders:
        fields += _name_fields(folder, _FOLDER, _FOLDER_PART)
    return fields


def _file_fields(path: str) -> list[_Field]:
    folders, stem = _named(path)
    fields = _name_fields(stem, _NAME, _NAME_PART, "file:")
    for folder in folders:
        fields += _name_fields(folder, _NAME_FOLDER, _NAME_FOLDER, "file:")
    return fields


def _named(path: str) -> tuple[list[str], str]:
    """Return the folders of a path and the name of its file, the last folder's where that says nothing."""
    *folders, name = path.split("/")
    stem = name.partition(".")[0] or name[1:]
    if stem.lower() in _NAMELESS and folders:
        stem = folders.pop()
    return folders, stem


def _name_fields(name: str, whole: int, part: int, space: str = "") -> list[_Field]:
    words = [expand(word) for word in re.findall(r"\w+", name)]
    fields = [(t, part if t in parts and len(parts) > 1 else whole) for terms, parts in words for t in terms]
    if len(words) > 1:
        joined = "".join(re.findall(r"[^\W_]+", name)).lower()
        fields = [(joined, whole), *((term, part) for term, _ in fields)]
    return [(term_index(space + term), code) for term, code in fields]


@lru_cache(maxsize=1 << 14)
def _definition_fields(name: str) -> list[_Field]:
    return [(term_index(term), code) for term, code in _definition_terms(name)]


def _definition_terms(name: str) -> list[tuple[str, int]]:
    terms = [(f"def:{name.lower()}", _DEFINITION)] if name else []
    for word in re.findall(r"\w+", name):
        wholes, parts = expand(word)
        terms += [(f"def:{whole}", _DEFINITION_JOINED) for whole in wholes if whole not in parts]
        terms += [(f"def:{part}", _DEFINITION_PART) for part in parts]
    return terms


def _keys(rows: Ragged, codes: np.ndarray | np.uint64) -> np.ndarray:
    """Pack row number, term and field into one integer, so that a single sort groups them."""
    row = np.repeat(np.arange(len(rows), dtype=np.uint64), rows.lengths)
    packed: np.ndarray = row << np.uint64(40) | rows.values.astype(np.uint64) << np.uint64(8) | codes
    return packed


def _field_keys(rows: Sequence[Sequence[str]], fields: Callable[[str], list[_Field]]) -> np.ndarray:
    """Look at each distinct value once: the chunks of a file share its path."""
    values = [value for row in rows for value in row]
    distinct = {value: i for i, value in enumerate(dict.fromkeys(values))}
    found = [fields(value) for value in distinct]
    flat = np.array([pair for pairs in found for pair in pairs], dtype=np.uint64).reshape(-1, 2)
    indptr = offsets(np.array([len(pairs) for pairs in found], dtype=np.int64))
    number = np.array([distinct[value] for value in values], dtype=np.int64)
    in_row = Ragged(offsets(np.array([len(row) for row in rows], dtype=np.int64)), number)
    terms, codes = (in_row.through(Ragged(indptr, flat[:, column])) for column in (0, 1))
    return _keys(terms, codes.values)


def _weights(keys: np.ndarray, first: np.ndarray, words: np.ndarray) -> np.ndarray:
    if not len(first):
        return np.zeros(0, dtype=np.float32)
    code = (keys & np.uint64(0xFF)).astype(np.intp)
    count = np.add.reduceat(_WORTH[code], first)
    length = (1 - _B + _B * words / _AVERAGE_WORDS).astype(np.float32)
    weights: np.ndarray = count * np.float32(_K1 + 1) / (count + np.float32(_K1) * length)
    return weights + np.maximum.reduceat(_GIVEN[code], first)


def _capped(rows: SparseRows) -> SparseRows:
    """Keep the heaviest terms of rows that have too many; of equals those with the lowest index."""
    lengths = np.diff(rows.indptr)
    if not len(lengths) or lengths.max() <= _MAX_TERMS:
        return rows
    keep = np.ones(len(rows.indices), dtype=bool)
    for row in np.flatnonzero(lengths > _MAX_TERMS):
        start, end = rows.indptr[row], rows.indptr[row + 1]
        keep[start + np.argsort(-rows.values[start:end], kind="stable")[_MAX_TERMS:]] = False
    indptr = offsets(np.minimum(lengths, _MAX_TERMS))
    return SparseRows(indptr, rows.indices[keep], rows.values[keep])
