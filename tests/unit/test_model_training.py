"""Tuning a static model's table, and how it is measured."""

import json

import numpy as np
import pytest

from benchmarks.retrieval import labelled
from models.bags import Bagger, counted
from models.evaluate import ndcg, reciprocal_ranks
from models.pairs import Pair
from models.sample import Samples, mixed
from models.train import Schedule, _batches, _gradient, _side, _softmax, train
from models.vocabulary import MIN_COUNT, extended
from services.core.adapters.static import StaticModel
from services.core.tokens import Ragged, offsets

WORDS = [f"{first}{second}" for first in "bcdfghjklm" for second in ("all", "est", "ing", "oke")]
PIECES = {word: number for number, word in enumerate(WORDS)}
HALF = len(WORDS) // 2


def pair(asked, answered):
    return Pair("python", "name", WORDS[asked] + " " + WORDS[asked] + " it", WORDS[answered], False)


def bags(rows):
    return Ragged(offsets(np.array([len(row) for row in rows])), np.array([n for row in rows for n in row], np.int32))


def random_table(seed=0, dim=16):
    return np.random.default_rng(seed).standard_normal((len(WORDS), dim)).astype(np.float32)


def quiet(_line):
    pass


def test_bags_hold_the_pieces_the_embedder_finds():
    found = Bagger({"read": 0, "file": 1, "##s": 2}).bags(["readFiles(file)", "", "unknown"])

    assert [found.values[found.indptr[i] : found.indptr[i + 1]].tolist() for i in range(3)] == [[0, 1, 2, 1], [], []]


def test_each_piece_of_a_row_is_counted_once():
    rows, pieces, counts = counted(bags([[3, 1, 3], [], [1]]))

    assert (rows.tolist(), pieces.tolist(), counts.tolist()) == ([0, 0, 2], [1, 3, 1], [1, 2, 1])


def test_the_gradient_is_the_slope_of_the_loss():
    table = random_table().astype(np.float64)
    queries, documents = bags([[0, 1], [2], [3, 3]]), bags([[4, 5], [5, 6], [0]])
    own = np.arange(3)

    def loss(at):
        scores = _side(at, queries).unit @ _side(at, documents).unit.T
        return -np.log(_softmax(scores)[own, own]).mean()

    asked, answered = _side(table, queries), _side(table, documents)
    slope = (_softmax(asked.unit @ answered.unit.T) - np.eye(3)) / 3
    found = np.zeros_like(table)
    found[asked.numbers] += _gradient(asked, slope @ answered.unit)
    found[answered.numbers] += _gradient(answered, slope.T @ asked.unit)

    for row, column in [(0, 0), (3, 2), (5, 7)]:
        moved = table.copy()
        moved[row, column] += 1e-3
        assert (loss(moved) - loss(table)) / 1e-3 == pytest.approx(found[row, column], abs=2e-3)


def tuned(seed):
    paired = bags([[n] for n in range(HALF)] * 8), bags([[HALF + n] for n in range(HALF)] * 8)
    schedule = Schedule(seed=seed, epochs=30, batch=HALF, rate=0.1)
    return train(random_table(), lambda _random: paired, schedule, np.zeros(len(paired[0]), int), quiet)


def test_training_brings_the_texts_of_a_pair_together():
    pairs = [pair(number, HALF + number) for number in range(HALF)]

    before = reciprocal_ranks(StaticModel("a", "0", PIECES, np.rint(random_table() * 500)), pairs)
    after = reciprocal_ranks(StaticModel("b", "0", PIECES, np.rint(tuned(1) * 500)), pairs)

    assert before["python"][0] < 0.5
    assert after["python"] == (1.0, HALF)


def test_the_same_seed_gives_the_same_table():
    assert np.array_equal(tuned(1), tuned(1))
    assert not np.array_equal(tuned(1), tuned(2))


def test_rows_no_pair_has_stay_as_they_were():
    few = bags([[0], [1]] * 8), bags([[2], [3]] * 8)

    after = train(random_table(), lambda _random: few, Schedule(epochs=3, batch=4), np.zeros(len(few[0]), int), quiet)

    assert after[4:] == pytest.approx(random_table()[4:], rel=1e-5)
    assert not np.allclose(after[:4], random_table()[:4], rtol=1e-3)


def test_each_row_is_taken_from_the_form_that_was_drawn():
    forms = [bags([[1], [2, 2], []]), bags([[4, 4, 4], [], [6]])]

    found = mixed(forms, np.array([1, 0, 1]))

    assert (found.indptr.tolist(), found.values.tolist()) == ([0, 3, 5, 6], [4, 4, 4, 2, 2, 6])


def test_samples_are_drawn_by_the_seed_and_hide_names():
    pairs = [Pair("python", "ball", "cest joke it", "ball king", False)] * 200
    samples = Samples(pairs, Bagger(PIECES))

    first, again = (samples.draw(np.random.default_rng(5)) for _ in range(2))

    assert np.array_equal(first[0].values, again[0].values)
    hidden = 200 - (first[1].values == PIECES["ball"]).sum()
    assert 60 < hidden < 140
    assert (first[1].values == PIECES["king"]).sum() == 200


def test_a_batch_is_of_one_group_and_no_row_is_in_two():
    groups = np.repeat([0, 1, 2], [40, 30, 20])

    batches = _batches(groups, 8, np.random.default_rng(0))

    assert len(np.unique(batches)) == batches.size == 88
    assert sum(len(np.unique(groups[rows])) > 1 for rows in batches) <= 2


def test_labelled_queries_are_scored_by_the_file_they_want(tmp_path):
    files = {"src/ball.py": "def ball():\n    return 'king'\n", "src/cest.py": "def cest():\n    return 'joke'\n"}
    for name, text in files.items():
        path = tmp_path / "trees" / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text * 4)
    spec = {"name": "tiny", "benchmark_root": "src", "language": "python", "revision": "1"}
    (tmp_path / "repos.json").write_text(json.dumps([spec]))
    (tmp_path / "labels").mkdir()
    tasks = [{"query": "ball king", "relevant": ["src/ball.py"]}, {"query": "ball king", "relevant": ["src/none.py"]}]
    (tmp_path / "labels" / "tiny.json").write_text(json.dumps(tasks))
    model = StaticModel("a", "0", PIECES, np.rint(random_table() * 500))

    found = ndcg(model, labelled.load(str(tmp_path), str(tmp_path / "trees")))

    assert found == {"tiny": pytest.approx(0.5)}


def test_frequent_words_that_are_cut_get_a_piece_that_begins_as_their_sum():
    texts = ["ballest ballest ball"] * MIN_COUNT + ["cestoke"]
    pieces = [*WORDS, "##est", "##oke"]
    table = np.random.default_rng(1).standard_normal((len(pieces), 4))

    longer, grown = extended(pieces, table, texts)

    assert longer == [*pieces, "ballest"]
    assert np.array_equal(grown[:-1], table)
    assert grown[-1] == pytest.approx(table[PIECES["ball"]] + table[len(WORDS)])


def test_the_vocabulary_never_outgrows_its_limit(monkeypatch):
    monkeypatch.setattr("models.vocabulary.MAX_PIECES", len(WORDS) + 3)
    pieces = [*WORDS, "##est", "##oke"]

    longer, _ = extended(pieces, np.ones((len(pieces), 4)), ["ballest balloke kingest"] * MIN_COUNT)

    assert len(longer) == len(WORDS) + 3
