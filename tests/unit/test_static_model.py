"""The static model: its file, its sums, and the one that ships."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from models.distill import DIM, STEPS, quantise, reduce, useful_pieces, weigh
from services.core.adapters.static import StaticEmbedder, StaticModel, cut, load_model, model_digest
from services.core.errors import CorruptData, NotFound
from services.core.settings import Settings
from services.core.texts import Texts

SHIPPED = Settings().static_model
PIECES = ["read", "file", "##file", "##s", "write", "un", "##related", "socket"]


def model(dim=8, seed=0):
    table = np.random.default_rng(seed).integers(-STEPS, STEPS, (len(PIECES), dim)).astype(np.float32)
    return StaticModel("tiny", "0" * 64, {piece: i for i, piece in enumerate(PIECES)}, table)


def write_model(folder, **changes):
    weights = save({"table": np.ones((2, 4), np.int8), "scales": np.array([2.0, 3.5], np.float32)})
    vocabulary = b"read\nfile\n"
    config = {"name": "tiny", "dim": 4, "digest": model_digest(weights, vocabulary)} | changes
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "vocab.txt").write_bytes(vocabulary)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def shipped():
    return StaticEmbedder(SHIPPED)


@pytest.mark.parametrize(
    ("part", "pieces"),
    [
        ("file", ["file"]),
        ("files", ["file", "##s"]),
        ("readfiles", ["read", "##file", "##s"]),
        ("unrelated", ["un", "##related"]),
        ("unreads", []),
        ("", []),
    ],
)
def test_a_part_is_cut_into_the_longest_pieces(part, pieces):
    assert cut(part, model().pieces) == [PIECES.index(piece) for piece in pieces]


def test_a_text_is_the_sum_of_its_pieces_made_a_unit():
    tiny = model()
    expected = 2 * tiny.table[0] + tiny.table[1] + tiny.table[3]

    (vector,) = StaticEmbedder(tiny).embed(Texts(["read(readFiles)"]))

    assert vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["read", "file", "files", "write", "socket", "zzz"])), min_size=1), st.data())
def test_a_vector_does_not_depend_on_its_neighbours(texts, data):
    embedder = StaticEmbedder(model(dim=32))
    joined = [" ".join(words) for words in texts]
    order = data.draw(st.permutations(range(len(joined))))

    together = embedder.embed(Texts(joined))
    shuffled = embedder.embed(Texts([joined[i] for i in order]))

    assert np.array_equal(together[order], shuffled)
    assert np.array_equal(together[0], embedder.embed(Texts(joined[:1]))[0])


def test_shipped_vectors_are_bit_for_bit_the_same_in_any_company(shipped):
    texts = [path.read_text() for path in sorted(Path(__file__).parent.glob("test_*.py"))[:20]]

    together = shipped.embed(Texts(texts))

    for i, text in enumerate(texts):
        assert np.array_equal(together[i], shipped.embed(Texts(["other words", text]))[1])


@pytest.mark.parametrize("text", ["", "{}();", "zzz", "检查", "x"])
def test_a_text_without_a_known_word_has_the_fixed_unit_vector(text):
    embedder = StaticEmbedder(model())

    vectors = embedder.embed(Texts([text, "read"]))

    assert vectors[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    assert vectors[1].tolist() != vectors[0].tolist()


def test_no_texts_give_no_rows():
    assert StaticEmbedder(model()).embed(Texts([])).shape == (0, 8)


def test_a_new_vocabulary_does_not_change_a_vector(monkeypatch):
    from services.core import tokens

    embedder = StaticEmbedder(model())
    before = embedder.embed(Texts(["socket write", "read files"]))
    monkeypatch.setattr(tokens, "_newest", tokens.Vocabulary())

    after = embedder.embed(Texts(["read files", "socket write"]))

    assert np.array_equal(before, after[::-1])


def test_the_model_id_names_the_weights(shipped):
    digest = json.loads((SHIPPED / "config.json").read_text())["digest"]

    assert shipped.model_id == f"quarry-static-256@{digest[:12]}-t1"
    assert shipped.dim == 256


def test_the_shipped_model_knows_what_is_alike(shipped):
    questions = ["open a file and read its content", "connect to a server", "sort a list of numbers"]
    code = [
        "def read_file(path):\n    with open(path) as file:\n        return file.read()",
        "sock.connect((host, port))  # client connection to the server",
        "numbers.sort(key=lambda n: -n)",
    ]

    similarity = shipped.embed(Texts(questions)) @ shipped.embed(Texts(code)).T

    assert similarity.argmax(axis=1).tolist() == [0, 1, 2]


def test_the_shipped_table_fits_in_32_mib_and_sums_exactly():
    table = load_model(SHIPPED).table

    assert table.nbytes <= 32 << 20
    assert np.array_equal(table, np.rint(table))
    assert np.abs(table).max() <= STEPS


def test_a_written_model_reads_back(tmp_path):
    write_model(tmp_path)

    tiny = load_model(tmp_path)

    assert tiny.pieces == {"read": 0, "file": 1}
    assert tiny.table.tolist() == [[2.0] * 4, [4.0] * 4]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
def test_a_missing_file_says_what_to_do(tmp_path, name):
    write_model(tmp_path)
    (tmp_path / name).unlink()

    with pytest.raises(NotFound, match="make model"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
@pytest.mark.parametrize("damage", [lambda d: d[:-3], lambda d: b"", lambda d: d[:20] + b"\xff" + d[21:]])
def test_a_damaged_file_is_refused(tmp_path, name, damage):
    write_model(tmp_path)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(CorruptData, match="static model"):
        load_model(tmp_path)


@pytest.mark.parametrize("changes", [{"dim": 5}, {"digest": "0" * 64}, {"name": None, "dim": None}])
def test_a_config_of_another_model_is_refused(tmp_path, changes):
    write_model(tmp_path, **changes)

    with pytest.raises(CorruptData):
        load_model(tmp_path)


def test_a_shipped_model_with_one_flipped_bit_is_refused(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)

    with pytest.raises(CorruptData, match="digest"):
        StaticEmbedder(tmp_path / "copy")


def test_int8_keeps_the_direction_of_every_row():
    table = np.random.default_rng(1).standard_normal((500, DIM)) * np.linspace(0.01, 1, 500)[:, None]

    packed, scales = quantise(table)
    unpacked = packed * scales[:, None].astype(np.float64)

    cosines = (unpacked * table).sum(1) / np.linalg.norm(unpacked, axis=1) / np.linalg.norm(table, axis=1)
    assert cosines.min() > 0.999


def test_reducing_twice_gives_the_same_signs():
    vectors = np.random.default_rng(2).standard_normal((400, 24))

    first, second = reduce(vectors, 6), reduce(vectors[::-1], 6)[::-1]

    assert first == pytest.approx(second, abs=1e-9)


def test_rare_pieces_weigh_more():
    weights = weigh(np.ones((1000, 1)))[:, 0]

    assert (np.diff(weights) > 0).all()
    assert weights[-1] <= 1.0


def test_only_pieces_that_a_word_can_have_are_kept(tmp_path):
    vocabulary = ["[PAD]", "[unused0]", "!", "a", "##b", "##!", "read", "é"]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {p: i for i, p in enumerate(vocabulary)}}}))

    assert list(useful_pieces(tmp_path / "tokenizer.json")) == ["a", "##b", "read", "é"]
