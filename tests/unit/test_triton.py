"""The Triton client against a server that misbehaves in every way a server can."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from services.core.adapters.triton import BULK, QUERY, Calls, TritonEmbedder
from services.core.adapters.triton_model import BUCKETS, version_of
from services.core.errors import CorruptData, Unavailable
from services.core.model_files import Identity
from services.core.texts import Texts
from tests import fakes_triton
from tests.fakes_triton import DIM, MODEL_ID, FakeTriton, changed, edited, hang, no_memory_above, refuse, rejected

EXPECTED = Identity(MODEL_ID, DIM)
SHORT = Calls(2, deadline_s=0.3, patience_s=0.8, budget_tokens=1024)
PATIENT = replace(SHORT, deadline_s=5.0, patience_s=10.0)
WORDS = {f"w{number}": number for number in range(1000)}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokeniser whose tokens are the words of a text: `w7` is token 7."""
    made = Tokenizer(models.WordLevel(WORDS, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


@pytest.fixture
def fake():
    return FakeTriton()


@pytest.fixture
def address(fake):
    with fakes_triton.running(fake) as address:
        yield address


@pytest.fixture
def embedder(address, tokenizer):
    embedder = TritonEmbedder(address, tokenizer, expected=EXPECTED, calls=SHORT)
    yield embedder
    embedder.close()


@pytest.fixture
def patient(address, tokenizer):
    embedder = TritonEmbedder(address, tokenizer, expected=EXPECTED, calls=PATIENT)
    yield embedder
    embedder.close()


def some_texts(count, seed=1):
    chosen = random.Random(seed)
    return Texts([" ".join(chosen.choices(list(WORDS), k=chosen.randint(1, 300))) for _ in range(count)])


def expected_rows(texts):
    rows = [fakes_triton.row_of([WORDS[word] for word in text.split()][:256]) for text in texts.texts]
    return np.array(rows).reshape(len(texts), DIM)


def test_every_text_gets_its_own_vector_across_windows_and_buckets(patient):
    texts = some_texts(1100)

    assert np.array_equal(patient.embed(texts), expected_rows(texts))


def test_requests_keep_to_the_budget_the_buckets_and_the_server_s_limit(fake, patient):
    fake.max_texts = 3

    patient.embed(some_texts(60))

    shapes = [tuple(request.inputs[0].shape) for request in fake.requests]
    assert {width for _, width in shapes} == set(BUCKETS)
    assert all(texts <= 3 and texts * width <= SHORT.budget_tokens for texts, width in shapes)


@pytest.mark.parametrize(("calls", "priority"), [(QUERY, 1), (BULK, 2)])
def test_a_request_names_model_version_priority_and_how_long_it_may_queue(fake, address, tokenizer, calls, priority):
    TritonEmbedder(address, tokenizer, expected=EXPECTED, calls=calls).embed(some_texts(1))

    (request,) = fake.requests
    assert request.model_version == version_of(MODEL_ID)
    assert request.parameters["priority"].uint64_param == priority
    assert 0 < request.parameters["timeout"].int64_param <= calls.deadline_s * 1_000_000


def test_several_requests_are_under_way_at_once(fake, patient):
    together = threading.Barrier(4, timeout=5)

    def meet(server, request, context):
        together.wait()

    fake.always = meet
    texts = Texts(["w1 " * 250] * 16)

    assert patient.embed(texts).shape == (16, DIM)
    assert len(fake.requests) == 4


def test_threads_share_an_embedder(fake, patient):
    batches = [some_texts(40, seed) for seed in range(4)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(patient.embed, batches))

    assert all(np.array_equal(rows, expected_rows(texts)) for rows, texts in zip(found, batches, strict=True))


@pytest.mark.parametrize(
    "fault",
    [
        rejected(),
        refuse(grpc.StatusCode.UNAVAILABLE, "Request timeout expired"),
        refuse(grpc.StatusCode.INTERNAL, "Stub process 'minilm_0_0' is not healthy."),
        refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests"),
        refuse(grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'minilm' is not found"),
    ],
)
def test_a_refused_request_is_sent_again(fake, patient, fault):
    fake.faults.extend([fault, fault])
    texts = some_texts(3)

    assert np.array_equal(patient.embed(texts), expected_rows(texts))


def test_a_server_that_keeps_refusing_is_given_up_with_its_reason(fake, address, embedder):
    fake.always = rejected()

    with pytest.raises(Unavailable, match=rf"{address}.*0\.8 s.*Exceeds maximum queue size"):
        embedder.embed(some_texts(3))


def test_a_request_that_can_t_succeed_is_not_repeated(fake, embedder):
    fake.always = refuse(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'input_ids'")

    with pytest.raises(Unavailable, match="INVALID_ARGUMENT: unexpected shape"):
        embedder.embed(Texts(["w1"]))
    assert len(fake.requests) == 1


def test_a_server_that_hangs_is_given_up(fake, embedder):
    fake.always = hang

    with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED"):
        embedder.embed(some_texts(3))


def test_a_request_that_hung_is_sent_again(fake, embedder):
    fake.faults.append(hang)
    texts = some_texts(1)

    assert np.array_equal(embedder.embed(texts), expected_rows(texts))


def test_no_server_is_unavailable(tokenizer):
    embedder = TritonEmbedder("127.0.0.1:9", tokenizer, expected=EXPECTED, calls=SHORT)

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9.*QUARRY_TRITON_URL"):
        embedder.embed(Texts(["w1"]))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        embedder.check()


def _wrong_version(response):
    response.model_version = "7"


def _other_output(response):
    response.outputs[0].name = "token_vectors"


def _half_precision(response):
    response.outputs[0].datatype = "FP16"


def _cut_bytes(response):
    response.raw_output_contents[0] = response.raw_output_contents[0][:-4]


def _no_output(response):
    del response.outputs[:]


@pytest.mark.parametrize(
    "fault",
    [
        changed(lambda rows: np.where(np.arange(len(rows))[:, None] == 1, np.nan, rows)),
        changed(lambda rows: rows * np.inf),
        changed(lambda rows: rows * 0),
        changed(lambda rows: rows * 1.01),
        changed(lambda rows: rows[1:]),
        changed(lambda rows: rows[:, 1:]),
        changed(lambda rows: rows.reshape(-1)),
        *map(edited, (_wrong_version, _other_output, _half_precision, _cut_bytes, _no_output)),
    ],
)
def test_what_can_t_be_the_vectors_is_never_returned(fake, embedder, fault):
    fake.always = fault

    with pytest.raises(Unavailable, match="triton"), np.errstate(invalid="ignore"):
        embedder.embed(Texts(["w1", "w2", "w3"]))


def test_a_batch_that_finds_no_memory_is_halved_and_the_next_ones_are_smaller(fake, patient):
    fake.always = no_memory_above(2)
    texts = some_texts(40)

    assert np.array_equal(patient.embed(texts), expected_rows(texts))
    fake.requests.clear()
    patient.embed(Texts(["w1 " * 250] * 8))
    assert max(request.inputs[0].shape[0] for request in fake.requests) <= 2


def test_a_server_that_came_back_taking_less_at_once_gets_less(fake, patient):
    fake.always = lambda server, request, context: (
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "inference request batch-size must be <= 2 for 'minilm'")
        if request.inputs[0].shape[0] > 2
        else None
    )
    texts = some_texts(40)

    assert np.array_equal(patient.embed(texts), expected_rows(texts))


def test_one_text_without_memory_for_it_is_unavailable(fake, embedder):
    fake.always = no_memory_above(0)

    with pytest.raises(Unavailable, match="Failed to allocate memory"):
        embedder.embed(some_texts(2))


def test_another_model_is_refused_before_anything_is_sent(fake, embedder):
    fake.model_id = "other@ba9876543210"

    with pytest.raises(Unavailable, match=r"'other@ba9876543210'.*'fake@0123456789ab'.*can't be mixed"):
        embedder.embed(some_texts(1))
    with pytest.raises(Unavailable, match="can't be mixed"):
        embedder.check()
    assert fake.requests == []


def test_the_same_model_of_another_length_is_refused(fake, embedder):
    fake.dim = DIM * 2

    with pytest.raises(Unavailable, match=r"of 16 dimensions.*of 8"):
        embedder.embed(some_texts(1))


def test_a_model_quarry_did_not_make_is_refused(fake, embedder):
    fake.model_id = ""

    with pytest.raises(Unavailable, match="not one that Quarry made"):
        embedder.embed(some_texts(1))


@pytest.mark.parametrize("expected", [EXPECTED, None])
def test_a_server_that_comes_back_with_another_model_is_refused(address, fake, tokenizer, expected):
    embedder = TritonEmbedder(address, tokenizer, expected=expected, calls=SHORT)
    embedder.embed(some_texts(1))
    fake.faults.append(refuse(grpc.StatusCode.UNAVAILABLE, "Socket closed"))
    fake.model_id = "other@ba9876543210"

    with pytest.raises(Unavailable, match="can't be mixed"):
        embedder.embed(some_texts(1))
    assert embedder.model_id == MODEL_ID


def test_a_server_that_changed_its_model_unnoticed_is_refused(fake, embedder):
    embedder.embed(some_texts(1))
    fake.model_id = "other@ba9876543210"

    with pytest.raises(Unavailable, match="can't be mixed"):
        embedder.embed(some_texts(1))


def test_work_goes_on_when_the_server_comes_back(tokenizer):
    texts, fake = some_texts(30), FakeTriton()
    with fakes_triton.running(fake) as address:
        embedder = TritonEmbedder(address, tokenizer, expected=EXPECTED, calls=PATIENT)
        embedder.embed(texts)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(embedder.embed, texts)
        with fakes_triton.running(FakeTriton(), port=int(address.rpartition(":")[2])):
            found = waiting.result(timeout=20)

    assert np.array_equal(found, expected_rows(texts))


def test_without_an_expected_model_the_first_answer_decides(address, tokenizer):
    embedder = TritonEmbedder(address, tokenizer, calls=SHORT)

    assert (embedder.model_id, embedder.dim) == (MODEL_ID, DIM)


def test_an_expected_model_is_known_without_a_server(tokenizer):
    embedder = TritonEmbedder("127.0.0.1:9", tokenizer, expected=EXPECTED)

    assert (embedder.model_id, embedder.dim) == (MODEL_ID, DIM)


def test_the_server_is_asked_once_for_its_model_while_all_goes_well(fake, embedder):
    for seed in range(3):
        embedder.embed(some_texts(5, seed))

    assert fake.asked == 1


def test_a_tokeniser_that_is_none_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(CorruptData, match=r"tokenizer\.json"):
        TritonEmbedder("127.0.0.1:9", tmp_path / "tokenizer.json")
