"""Latency of searches over HTTP at a constant rate, every answer checked."""

import json
from typing import Any
from urllib.parse import urlencode

from benchmarks.distributed.bench import STDLIB, Bench, note
from benchmarks.distributed.pace import Answer, paced
from benchmarks.speed import queries
from benchmarks.speed.latency import LEAST_SHARE_WITH_HITS
from benchmarks.speed.measure import MeasurementError
from benchmarks.speed.queries import Query
from benchmarks.speed.records import Record, percentile
from loadtest.contract import breach

_PER_S = 10.0
_TIMED = 400
_WARM_UP = 60
_SEED = 1


def search(bench: Bench) -> Record:
    """Ask an indexed standard library ten times a second for forty seconds."""
    deployment = bench.with_stdlib()
    corpus = bench.stdlib()
    drawn = queries.draw(corpus.path, STDLIB, _WARM_UP + _TIMED, _SEED)
    note(f"search: {_PER_S:g} a second for {_TIMED / _PER_S:.0f} s")
    paced(deployment.url, [_target(query) for query in drawn[:_WARM_UP]], _PER_S)
    timed = drawn[_WARM_UP:]
    answers = paced(deployment.url, [_target(query) for query in timed], _PER_S)
    return Record("search", _figures(timed, answers), [], corpus.describe())


def _target(query: Query) -> str:
    return "/v1/search?" + urlencode({"q": query.text, "limit": 10, **query.filters})


def _figures(drawn: list[Query], answers: list[Answer]) -> dict[str, Any]:
    with_hits = sum(_check(query, answer) for query, answer in zip(drawn, answers, strict=True))
    if with_hits < LEAST_SHARE_WITH_HITS * len(drawn):
        raise MeasurementError(f"only {with_hits} of {len(drawn)} queries found anything")
    took_ms = [answer.took_ms for answer in answers]
    percentiles = {f"p{percent}_ms": round(percentile(took_ms, percent), 1) for percent in (50, 95, 99)}
    rates = {"per_s": _PER_S, "queries": len(drawn), "with_hits": with_hits}
    return {**percentiles, "max_ms": round(max(took_ms), 1), **rates}


def _check(query: Query, answer: Answer) -> bool:
    if answer.status != 200:
        raise MeasurementError(f"query {query.text!r} answered {answer.status}: {answer.body[:300]!r}")
    document = json.loads(answer.body)
    if wrong := breach("GET", "/v1/search", 200, document):
        raise MeasurementError(f"the answer to {query.text!r} is not what the API promises: {wrong}")
    return bool(document["hits"])
