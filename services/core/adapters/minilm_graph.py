"""MiniLM (a BERT encoder) as an ONNX graph built from its configuration, so that no PyTorch export is needed.

The graph holds no weights: its initialisers point into ``model.safetensors`` as external data.
Inputs: input_ids, attention_mask int64[batch, tokens]. Output: vectors float32[batch, hidden],
the mean over unmasked tokens, unit rows.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.core.errors import CorruptData

# The first opset with Gelu; ONNX Runtime reads it since 1.18.
_OPSET = 20
# The newest runtime may write an IR that older ones refuse; opset 20 came with this one.
_IR_VERSION = 9
_MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Encoder:
    """Sizes of the encoder, as in its config.json."""

    layers: int
    heads: int
    hidden: int
    epsilon: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Encoder":
        """Read the sizes.

        Raises:
            CorruptData: it is not the configuration of a BERT with exact GELU.
        """
        try:
            if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
                raise CorruptData(f"model of type {config['model_type']!r} with {config['hidden_act']!r}: need a BERT")
            return cls(
                config["num_hidden_layers"],
                config["num_attention_heads"],
                config["hidden_size"],
                config["layer_norm_eps"],
            )
        except KeyError as error:
            raise CorruptData(f"the model's config.json lacks {error}") from error


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A float32 tensor inside a safetensors file: offset and length in bytes from the file's begin."""

    shape: tuple[int, ...]
    offset: int
    length: int


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Return the float32 tensors of a safetensors file.

    Raises:
        CorruptData: the header can't be read or points outside the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
            raise CorruptData(f"{str(path)!r} is no safetensors file: its header claims {length} bytes")
        raw = file.read(length)
    try:
        entries = {name: entry for name, entry in json.loads(raw).items() if name != "__metadata__"}
        return {n: _stored(e, 8 + length, size) for n, e in entries.items() if e["dtype"] == "F32"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptData(f"the header of {str(path)!r} can't be read: {error!r}") from error


def _stored(entry: dict[str, Any], begin: int, size: int) -> StoredTensor:
    start, end = entry["data_offsets"]
    if end - start != 4 * math.prod(entry["shape"]) or not 0 <= start <= end <= size - begin:
        raise ValueError(f"a tensor of shape {entry['shape']} at {start} to {end}, in a file of {size} bytes")
    return StoredTensor(tuple(entry["shape"]), begin + start, end - start)


@dataclass(slots=True)
class _Graph:
    """Nodes and initialisers while they are being collected; every method returns the name of its output."""

    weights_file: str
    tensors: Mapping[str, StoredTensor]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initialisers: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, name: str) -> str:
        if name not in self.tensors:
            raise CorruptData(f"{self.weights_file!r} has no tensor {name!r}: it is not the model its config describes")
        stored = self.tensors[name]
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=stored.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.weights_file), ("offset", stored.offset), ("length", stored.length)):
            tensor.external_data.add(key=key, value=str(value))
        self.initialisers[name] = tensor
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{value.dtype}_{'_'.join(map(str, np.ravel(value)))}_{value.ndim}"
        self.initialisers[name] = numpy_helper.from_array(value, name)
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def linear(self, x: str, name: str) -> str:
        """``x @ weight.T + bias`` for x float32[rows, in]."""
        return self.op("Gemm", [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")], transB=1)

    def norm(self, x: str, name: str, epsilon: float) -> str:
        inputs = [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.op("LayerNormalization", inputs, axis=-1, epsilon=epsilon)


def build_graph(encoder: Encoder, weights_file: str, tensors: Mapping[str, StoredTensor]) -> bytes:
    """Return the serialised graph, its weights in `weights_file` beside it.

    Raises:
        CorruptData: a weight is missing.
    """
    graph = _Graph(weights_file, tensors)
    shape = graph.op("Shape", ["input_ids"])
    bias = _mask_bias(graph)
    x = _embeddings(graph, encoder)
    for layer in range(encoder.layers):
        x = _layer(graph, encoder, f"encoder.layer.{layer}", x, shape, bias)
    _pool(graph, encoder, x, shape)
    int_matrix = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", "attention_mask")
    ]
    vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["b", encoder.hidden])
    body = helper.make_graph(graph.nodes, "minilm", int_matrix, [vectors], list(graph.initialisers.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    serialised: bytes = model.SerializeToString()
    return serialised


def _mask_bias(graph: _Graph) -> str:
    """0 where a token counts and -10,000 where it is padding, float32[batch, 1, 1, tokens]."""
    mask = graph.op("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    mask = graph.op("Unsqueeze", [mask, graph.integers(1, 2)])
    missing = graph.op("Sub", [graph.constant(np.array(1.0, dtype=np.float32)), mask])
    return graph.op("Mul", [missing, graph.constant(np.array(-10000.0, dtype=np.float32))])


def _embeddings(graph: _Graph, encoder: Encoder) -> str:
    """Word, position and type embeddings, float32[batch * tokens, hidden]."""
    words = graph.op("Gather", [graph.weight("embeddings.word_embeddings.weight"), "input_ids"])
    tokens = graph.op("Shape", ["input_ids"], start=1)
    positions = graph.weight("embeddings.position_embeddings.weight")
    positions = graph.op("Slice", [positions, graph.integers(0), tokens, graph.integers(0)])
    first_type = graph.weight("embeddings.token_type_embeddings.weight")
    first_type = graph.op("Gather", [first_type, graph.constant(np.array(0, dtype=np.int64))])
    summed = graph.op("Add", [graph.op("Add", [words, positions]), first_type])
    flat = graph.op("Reshape", [summed, graph.integers(-1, encoder.hidden)])
    return graph.norm(flat, "embeddings.LayerNorm", encoder.epsilon)


def _layer(graph: _Graph, encoder: Encoder, name: str, x: str, shape: str, bias: str) -> str:
    attended = graph.linear(
        _attention(graph, encoder, f"{name}.attention.self", x, shape, bias), f"{name}.attention.output.dense"
    )
    x = graph.norm(graph.op("Add", [attended, x]), f"{name}.attention.output.LayerNorm", encoder.epsilon)
    inner = graph.op("Gelu", [graph.linear(x, f"{name}.intermediate.dense")])
    outer = graph.linear(inner, f"{name}.output.dense")
    return graph.norm(graph.op("Add", [outer, x]), f"{name}.output.LayerNorm", encoder.epsilon)


def _attention(graph: _Graph, encoder: Encoder, name: str, x: str, shape: str, bias: str) -> str:
    size = encoder.hidden // encoder.heads
    split = graph.op("Concat", [shape, graph.integers(encoder.heads, size)], axis=0)

    def heads(kind: str, order: tuple[int, ...]) -> str:
        return graph.op("Transpose", [graph.op("Reshape", [graph.linear(x, f"{name}.{kind}"), split])], perm=order)

    scores = graph.op("MatMul", [heads("query", (0, 2, 1, 3)), heads("key", (0, 2, 3, 1))])
    scaled = graph.op("Mul", [scores, graph.constant(np.array(size**-0.5, dtype=np.float32))])
    weights = graph.op("Softmax", [graph.op("Add", [scaled, bias])], axis=-1)
    mixed = graph.op("Transpose", [graph.op("MatMul", [weights, heads("value", (0, 2, 1, 3))])], perm=(0, 2, 1, 3))
    return graph.op("Reshape", [mixed, graph.integers(-1, encoder.hidden)])


def _pool(graph: _Graph, encoder: Encoder, x: str, shape: str) -> None:
    rows = graph.op("Reshape", [x, graph.op("Concat", [shape, graph.integers(encoder.hidden)], axis=0)])
    mask = graph.op("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    # The length of the sum is divided out below, so the sum serves for the mean.
    mask = graph.op("Unsqueeze", [mask, graph.integers(1)])
    total = graph.op("Squeeze", [graph.op("MatMul", [mask, rows]), graph.integers(1)])
    graph.nodes.append(helper.make_node("LpNormalization", [total], ["vectors"], axis=-1, p=2))
