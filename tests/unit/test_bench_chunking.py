"""The chunking benchmark: recipes change what vectors see and never what is stored; its figures are the product's."""

import json
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chunking.__main__ import main
from benchmarks.chunking.files import TreeFile, read_files
from benchmarks.chunking.measure import measure, measure_comments
from benchmarks.chunking.memory import MemoryVectors
from benchmarks.chunking.points import Cost, make_points
from benchmarks.chunking.recipe import RECIPES, Recipe, View, cutting
from benchmarks.chunking.table import SCENARIO, render
from benchmarks.retrieval.labelled import load
from benchmarks.speed.records import Record, newest
from services.chunker import lines, split_cuts
from services.chunker.split import split
from services.core import sparse
from services.core.adapters.static import StaticEmbedder
from services.core.adapters.vectors import EdgeVectors
from services.core.digest import point_id
from services.core.model import Chunk
from services.core.ports import Filter, Points
from services.core.settings import Settings
from services.core.sparse import sparse_query
from services.core.texts import Texts

_PARSER = "".join(f"def parse_{n}(text):\n    value = text.strip()\n    return value + {n}\n\n\n" for n in range(40))
_SOCKET = "".join(
    f"def connect_{n}(host):\n    sock = open_socket(host)\n    return sock, {n}\n\n\n" for n in range(40)
)


@pytest.fixture(scope="module")
def embedder():
    return StaticEmbedder(Settings().static_model)


@pytest.fixture
def files():
    return [TreeFile(f"{name}.py", "python", "code", text.encode()) for name, text in _NAMED.items()]


_NAMED = {"parser": _PARSER, "socket": _SOCKET}


def _chunk(start, end, symbol=""):
    return Chunk(start, end, 1, 1, symbol, ())


def test_a_plain_view_is_the_chunk_and_nothing_else():
    assert View().text("a.py", b"one\ntwo\n", _chunk(4, 8, "A.b")) == "two\n"


def test_a_header_says_path_and_symbol_as_often_as_asked():
    assert View(path=2, symbol=1).text("a.py", b"one\n", _chunk(0, 4, "A.b")) == "a.py\na.py\nA.b\none\n"


def test_a_chunk_outside_every_definition_has_no_symbol_in_its_header():
    assert View(symbol=3).text("a.py", b"one\n", _chunk(0, 4)) == "one\n"


@given(st.text("ab \n", max_size=60), st.integers(0, 60), st.integers(1, 30))
def test_overlap_is_whole_lines_from_before_the_chunk(text, start, overlap):
    data = text.encode()
    start = data.rfind(b"\n", 0, min(start, len(data))) + 1

    seen = View(overlap_bytes=overlap).text("a", data, _chunk(start, len(data))).encode()
    before = seen[: len(seen) - (len(data) - start)]

    assert data.endswith(seen)
    assert len(before) <= overlap
    assert not before or (before.endswith(b"\n") and data[: -len(seen)].endswith((b"\n", b"")))


@pytest.mark.parametrize("goal", [400, 750, 2000])
def test_chunks_tile_the_file_whatever_their_size(goal):
    text = _PARSER.encode()

    with cutting(goal):
        chunks = split(text, "python").chunks

    assert b"".join(text[chunk.start_byte : chunk.end_byte] for chunk in chunks) == text


def test_a_larger_goal_gives_larger_chunks():
    counts = []
    for goal in (400, 750, 2000):
        with cutting(goal):
            counts.append(len(split(_PARSER.encode(), "python").chunks))

    assert counts[0] > counts[1] > counts[2]


def test_the_product_cuts_as_before_after_a_failure():
    before = _sizes()

    with pytest.raises(RuntimeError), cutting(2 * before[0]):
        raise RuntimeError(_sizes())

    assert _sizes() == before


def test_all_that_a_size_means_grows_with_it():
    before = _sizes()

    with cutting(2 * before[0]):
        assert _sizes() == tuple(2 * size for size in before)


def _sizes():
    return lines.GOAL_BYTES, split_cuts.MAX_BYTES, sparse._AVERAGE_WORDS


def test_the_first_recipe_is_what_the_product_does():
    assert RECIPES[0] == Recipe("default", lines.GOAL_BYTES, View(), View())
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)


def test_points_cost_what_is_stored_of_them(files, embedder):
    cost = Cost()

    points = make_points("repo", files, RECIPES[0], embedder, cost)

    assert cost.chunks == len(points.chunks) == len(points.dense) == len(points.sparse)
    assert cost.split_s > 0
    assert cost.embed_s > 0
    assert cost.vector_bytes == 2 * points.dense.size + 8 * len(points.sparse.indices)
    assert [chunk.ordinal for chunk in points.chunks if chunk.path == "socket.py"][:2] == [0, 1]


def test_a_header_changes_vectors_and_not_chunks(files, embedder):
    plain = make_points("repo", files, RECIPES[0], embedder, Cost())
    headed = make_points("repo", files, Recipe("headed", dense=View(path=1)), embedder, Cost())

    assert headed.chunks == plain.chunks
    assert not np.allclose(headed.dense, plain.dense)
    assert np.array_equal(headed.sparse.values, plain.sparse.values)


def test_context_moves_vectors_towards_path_and_symbol(files, embedder):
    plain, near, nearer = (
        make_points("repo", files, Recipe("context", context=weight), embedder, Cost()).dense
        for weight in (0.0, 0.5, 1.0)
    )
    name = embedder.embed(Texts(["parser.py\nparse_0\n"]))[0]

    assert plain[0] @ name < near[0] @ name < nearer[0] @ name
    assert np.linalg.norm(nearer, axis=1) == pytest.approx(1.0, abs=1e-3)


def test_points_in_memory_are_found_as_in_the_store(files, embedder, tmp_path):
    made = make_points("repo", files, RECIPES[0], embedder, Cost())
    memory = MemoryVectors([made])
    store = EdgeVectors(tmp_path, embedder.dim, shard_points=1000, exact_points=1000)
    ids = [point_id("repo", chunk.path, "blob", chunk.ordinal) for chunk in made.chunks]
    payloads = list(memory.payloads([UUID(int=row) for row in range(len(ids))]).values())
    store.upsert(Points(ids, made.dense, made.sparse, [{**payload, "gen": 1, "ext": "py"} for payload in payloads]))
    query = "open socket to host 7"

    dense = embedder.embed(Texts([query]))[0]
    found = [reader.query(dense, sparse_query(query), Filter(), 20) for reader in (memory, store)]
    store.close()

    for by in ("dense", "sparse"):
        scores = [[score for _, score in getattr(candidates, by)] for candidates in found]
        assert scores[0] == pytest.approx(scores[1], abs=2e-3)


def test_points_in_memory_refuse_a_filter(files, embedder):
    memory = MemoryVectors([make_points("repo", files, RECIPES[0], embedder, Cost())])

    with pytest.raises(ValueError, match="filtered"):
        memory.query(None, None, Filter(repos=("repo",)), 10)


def test_files_are_those_that_quarry_indexes(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "blank.py").write_text(" \n")
    (tmp_path / "image.bin").write_bytes(bytes(range(256)) * 8)

    assert [(file.path, file.language, file.kind) for file in read_files(tmp_path)] == [("a.py", "python", "code")]


@pytest.fixture
def labelled(tmp_path):
    labels, trees = tmp_path / "given", tmp_path / "trees"
    (labels / "labels").mkdir(parents=True)
    for name, text in _NAMED.items():
        (trees / name).mkdir(parents=True)
        (trees / name / f"{name}.py").write_text(text)
        questions = [{"query": f"{name} 7", "relevant": [f"{name}.py"], "category": "semantic"}]
        (labels / "labels" / f"{name}.json").write_text(json.dumps(questions))
    repos = [{"name": name, "language": "python", "revision": "1"} for name in _NAMED]
    (labels / "repos.json").write_text(json.dumps(repos))
    return str(labels), str(trees)


def test_a_measurement_has_quality_and_cost(labelled, embedder):
    suite = load(*labelled)
    files = {tree.name: read_files(tree.path) for tree in suite.trees}

    figures = measure(suite, files, RECIPES[0], embedder)

    assert figures["single_hybrid"] == figures["single_lexical_file"] == 1.0
    assert figures["pooled_hybrid"] == 1.0
    assert figures["chunks"] >= figures["distinct_texts"] > 2


def test_doc_comments_are_measured_alone_and_beside_their_language(labelled, embedder):
    suite = load(*labelled)
    files = {tree.name: read_files(tree.path) for tree in suite.trees}

    figures = measure_comments(suite, files, RECIPES[0], embedder)

    assert figures == {"comments_single": 1.0, "comments_pooled": 1.0}


def test_a_run_is_stored_and_rendered(labelled, tmp_path, capsys):
    labels, trees = labelled
    results = tmp_path / "results"
    given = ["--labels", labels, "--trees", trees, "--results", str(results)]

    assert main(["run", *given, "--recipe", "default", "--recipe", "2000 bytes"]) == 0
    assert main(["report", "--results", str(results)]) == 0

    record = newest(results)[SCENARIO]
    assert [run["recipe"] for run in record.runs] == ["default", "2000 bytes"]
    assert "| 2000 bytes | 1.000 / 1.000 |" in capsys.readouterr().out


def test_without_labels_it_says_how_to_get_them(capsys):
    assert main(["run", "--labels", "", "--trees", ""]) == 1

    assert "LABELS" in capsys.readouterr().err


def test_without_results_the_table_says_how_to_measure():
    assert "benchmarks.chunking run" in render({})


def test_the_newest_record_is_what_is_rendered():
    run = dict.fromkeys(_KEYS, 0.5) | {"recipe": "default", "chunks": 1234, "distinct_texts": 1200, "vector_mb": 1.5}
    record = Record(SCENARIO, {}, [run | {"split_s": 1.0, "embed_s": 2.0}], {}, machine={}, source={}, taken_at="")

    table = render({SCENARIO: record})
    assert "| default | 0.500 / 0.500 |" in table
    assert "| 1,234 | 1,200 | 1.5 | 1.0 + 2.0 |" in table


_KEYS = [f"{s}_{m}" for s in ("single", "pooled") for m in ("hybrid", "hybrid_file", "semantic", "lexical")]
