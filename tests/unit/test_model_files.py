"""The files of a model, and what it is called by them."""

import multiprocessing

from services.core.model_files import ModelFiles, identity

# So much that a hash would be worth several threads.
WEIGHTS = bytes(range(256)) * (64 << 10)


def test_a_process_forked_after_a_model_was_identified_can_identify_it_too(tmp_path):
    files = ModelFiles(tmp_path, tmp_path / "weights", tmp_path / "config.json", tmp_path / "tokenizer.json")
    files.weights.write_bytes(WEIGHTS)
    files.config.write_text('{"hidden_size": 384}')
    expected = identity(files)

    child = multiprocessing.get_context("fork").Process(target=lambda: identity(files) == expected or 1 / 0)
    child.start()
    child.join(20)
    child.kill()

    assert child.exitcode == 0
