"""The Triton model repository: what the server is told, and that the files are the model."""

import shutil

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from models.triton.build import build, main
from models.triton.config import Deployment, config_text
from services.core.adapters.triton_model import BUCKETS, served, version_of
from services.core.errors import CorruptData, Unavailable
from services.core.model_files import Identity, ModelFiles, identity, model_files
from services.core.settings import Settings

IDENTITY = Identity("minilm@0123456789ab-256t-v1", 384)


@pytest.fixture(scope="module")
def files():
    try:
        return model_files(Settings())
    except Unavailable as reason:
        pytest.skip(str(reason))


def parsed(deployment):
    return text_format.Parse(config_text(IDENTITY, deployment), model_config_pb2.ModelConfig())


GPU = Deployment("onnxruntime", "gpu", 128)
CPU = Deployment("python", "cpu", 16)


@pytest.mark.parametrize("deployment", [GPU, CPU])
def test_the_config_says_what_the_client_relies_on(deployment):
    config = parsed(deployment)

    assert (served(config).identity, served(config).max_texts) == (IDENTITY, deployment.max_texts)
    assert [str(version) for version in config.version_policy.specific.versions] == [version_of(IDENTITY.model_id)]
    assert {given.name: list(given.dims) for given in config.input} == {"input_ids": [-1], "attention_mask": [-1]}


@pytest.mark.parametrize("deployment", [GPU, CPU])
def test_every_bucket_is_warmed_up_with_the_largest_batch(deployment):
    warm = parsed(deployment).model_warmup

    assert [entry.batch_size for entry in warm] == [deployment.max_texts] * len(BUCKETS)
    assert [list(entry.inputs["input_ids"].dims) for entry in warm] == [[bucket] for bucket in BUCKETS]


@pytest.mark.parametrize("deployment", [GPU, CPU])
def test_queues_are_bounded_and_reject_what_waited_too_long(deployment):
    batching = parsed(deployment).dynamic_batching
    reject = model_config_pb2.ModelQueuePolicy.REJECT

    for policy in (batching.default_queue_policy, batching.priority_queue_policy[1]):
        assert policy.timeout_action == reject
        assert policy.default_timeout_microseconds > 0
        assert policy.allow_timeout_override
        assert policy.max_queue_size > 0
    assert (batching.priority_levels, batching.default_priority_level) == (2, 2)


def test_both_backends_have_the_same_inputs_outputs_and_queues():
    gpu, cpu = parsed(GPU), parsed(CPU)

    for config in (gpu, cpu):
        for field in ("backend", "max_batch_size", "instance_group", "model_warmup"):
            config.ClearField(field)
    assert gpu == cpu


def test_the_version_follows_the_model():
    ids = [f"minilm@{number:012x}-256t-v1" for number in range(200)]

    assert len({version_of(model_id) for model_id in ids}) == len(ids)
    assert all(1 <= int(version_of(model_id)) <= 2**31 for model_id in ids)


def test_the_graph_in_the_repository_finds_its_weights_there(tmp_path, files):
    folder = build(files, tmp_path, GPU)

    session = onnxruntime.InferenceSession(str(folder / version_of(identity(files).model_id) / "model.onnx"))
    ids = np.array([[101, 2330, 102, 0]])
    (vectors,) = session.run(["vectors"], {"input_ids": ids, "attention_mask": np.array([[1, 1, 1, 0]])})
    assert vectors.shape == (1, 384)
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)


def test_building_again_replaces_what_was_there(tmp_path, files):
    build(files, tmp_path, GPU)

    folder = build(files, tmp_path, CPU)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["minilm"]
    assert 'backend: "python"' in (folder / "config.pbtxt").read_text()
    assert (folder / version_of(identity(files).model_id) / "model.py").is_file()


def test_other_weights_are_not_served(tmp_path, files):
    for path in (files.config, files.tokenizer):
        shutil.copy(path, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"other")
    other = ModelFiles(tmp_path, *(tmp_path / path.name for path in (files.weights, files.config, files.tokenizer)))

    with pytest.raises(CorruptData, match="published model has 53aa5117"):
        build(other, tmp_path / "repository", GPU)
    assert not (tmp_path / "repository").exists()


def test_the_command_builds_and_says_where(tmp_path, files, capsys):
    assert main(["--backend", "onnxruntime", "--device", "cpu", "--into", str(tmp_path)]) == 0

    assert capsys.readouterr().out == f"{tmp_path / 'minilm'}\n"
    assert "kind: KIND_CPU" in (tmp_path / "minilm" / "config.pbtxt").read_text()


def test_the_command_takes_no_batch_without_texts(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--backend", "python", "--into", str(tmp_path / "repository"), "--max-texts", "0"])

    assert "--max-texts" in capsys.readouterr().err


def test_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QUARRY_MODEL", str(tmp_path))

    assert main(["--backend", "python", "--into", str(tmp_path / "repository")]) == Unavailable.exit_status
    assert "model.safetensors" in capsys.readouterr().err
