"""MiniLM in a real Triton server: the same vectors, joined requests, queries first, and a server that is killed."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.core.adapters.onnx import OnnxEmbedder
from services.core.adapters.triton import BULK, QUERY, TritonEmbedder
from services.core.adapters.triton_calls import Connection, infer_request
from services.core.adapters.triton_model import BULK_PRIORITY, QUERY_PRIORITY, version_of
from services.core.errors import Unavailable
from services.core.model_files import identity, model_files
from services.core.settings import Settings
from services.core.texts import Texts
from tests.servers import NotToBeHad
from tests.triton_server import minilm_repository, triton_server

MAX_QUEUE = 12
# Two texts of up to 32 tokens: as many as the narrow server runs at once.
PAIRS = replace(BULK, budget_tokens=64, in_flight=MAX_QUEUE)


@pytest.fixture(scope="module")
def files():
    try:
        return model_files(Settings())
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory, files):
    """A server that runs two texts at a time and lets few requests wait."""
    folder = tmp_path_factory.mktemp("triton-narrow")
    try:
        server = triton_server(
            folder, minilm_repository(folder / "repository", files, max_texts=2, max_queue=MAX_QUEUE)
        )
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def local(files):
    return OnnxEmbedder(files, threads=1)


def opened(server, files, calls=BULK):
    return TritonEmbedder(server.url, files.tokenizer, expected=identity(files), calls=calls)


def code_texts(count):
    """Return pieces of the tests themselves: real code of 1 to 12 lines."""
    lines = "".join(path.read_text() for path in sorted(Path(__file__).parents[1].rglob("*.py"))).splitlines()
    return Texts(["\n".join(lines[at : at + 1 + at % 12]) for at in range(0, 40 * count, 40)])


def until(true, limit_s=30):
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_the_server_computes_what_the_embedder_in_process_computes(triton, files, local):
    texts = code_texts(40)

    assert np.abs(opened(triton, files).embed(texts) - local.embed(texts)).max() < 1e-4


def test_requests_of_several_clients_run_together(triton, files):
    before = triton.metrics()
    query = opened(triton, files, replace(QUERY, deadline_s=20, patience_s=20))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: query.embed(Texts([f"query number {number}"])), range(64)))

    count, runs = (triton.metrics()[name] - before[name] for name in ("nv_inference_count", "nv_inference_exec_count"))
    assert count == 64
    assert count / runs > 1.5


def short_texts(count):
    return Texts([f"text {number}" for number in range(count)])


def test_a_query_passes_the_bulk_that_waits(narrow, files):
    connection, ended = Connection(narrow.url), []
    pair = np.full((2, 256), 101), np.ones((2, 256), dtype=np.int64)

    answers = []
    for number, priority in enumerate([BULK_PRIORITY] * MAX_QUEUE + [QUERY_PRIORITY]):
        request = infer_request(version_of(identity(files).model_id), priority, pair)
        answers.append(connection.infer(request, 30))
        answers[-1].add_done_callback(lambda _, number=number: ended.append(number))
    for answer in answers:
        answer.result()
    until(lambda: len(ended) == len(answers))

    assert ended.index(MAX_QUEUE) < MAX_QUEUE // 2
    connection.close()


def test_what_a_full_queue_rejects_comes_again_until_all_is_done(narrow, files, local, caplog):
    texts = short_texts(60)
    caplog.set_level("INFO")

    found = opened(narrow, files, replace(PAIRS, in_flight=30)).embed(texts)

    assert any("Exceeds maximum queue size" in record.error for record in caplog.records)
    assert np.abs(found - local.embed(texts)).max() < 1e-4


def test_a_killed_server_is_unavailable_and_the_work_goes_on_with_the_next(tmp_path, narrow, files, local):
    texts = short_texts(40)
    steady = opened(narrow, files, replace(PAIRS, in_flight=4))
    hasty = opened(narrow, files, QUERY)
    done = narrow.metrics()["nv_inference_count"]

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(steady.embed, texts)
        until(lambda: narrow.metrics()["nv_inference_count"] > done + 3)
        narrow.end(signal.SIGKILL)
        with pytest.raises(Unavailable, match=narrow.url):
            hasty.embed(Texts(["open a file"]))
        repository = minilm_repository(tmp_path / "repository", files, max_texts=2)
        again = triton_server(tmp_path, repository, port=int(narrow.url.rpartition(":")[2]))
        try:
            found = going.result(timeout=60)
        finally:
            again.stop()

    assert np.abs(found - local.embed(texts)).max() < 1e-4
