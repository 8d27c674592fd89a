"""The generated corpus: the same for the same seed, the size asked for, and code that parses."""

import ast
import json
from collections import Counter
from pathlib import Path

import pytest
from tree_sitter_language_pack import get_parser

from loadtest.corpus import generate, main, write
from loadtest.templates import LANGUAGES


def test_equal_seeds_give_equal_corpora():
    assert list(generate(200, 7, 865)) == list(generate(200, 7, 865))


def test_another_seed_gives_another_corpus():
    first = {text for _, text in generate(100, 1, 865)}
    second = {text for _, text in generate(100, 2, 865)}

    assert not first & second


@pytest.mark.parametrize("mean_bytes", [865, 2000])
def test_mean_size_is_the_one_asked_for(mean_bytes):
    sizes = [len(text) for _, text in generate(3000, 1, mean_bytes)]

    assert sum(sizes) / len(sizes) == pytest.approx(mean_bytes, rel=0.05)


def test_paths_are_unique_and_a_folder_holds_a_few_dozen_files():
    paths = [path for path, _ in generate(5000, 1, 865)]
    folders = Counter(path.rpartition("/")[0] for path in paths)

    assert len(set(paths)) == 5000
    assert max(folders.values()) <= 100


def test_python_files_compile():
    sources = [text for path, text in generate(300, 3, 865) if path.endswith(".py")]

    assert sources
    for source in sources:
        ast.parse(source)


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_files_parse_without_an_error_node(language):
    parser = get_parser(language.name)
    sources = [text for path, text in generate(200, 5, 865) if path.endswith("." + language.extension)]

    assert sources
    assert not [source for source in sources if parser.parse(source.encode()).root_node.has_error]


def test_write_puts_every_file_below_the_folder(tmp_path: Path):
    written = write(tmp_path, 60, 1, 865)

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == written.files == 60
    assert sum(path.stat().st_size for path in files) == written.bytes


def test_command_prints_what_it_wrote(tmp_path: Path, capsys):
    status = main([str(tmp_path / "corpus"), "--files", "5"])

    assert status == 0
    assert json.loads(capsys.readouterr().out)["files"] == 5
