"""What a Triton server answered, believed only if it can be what was asked for."""

import math

import numpy as np
from tritonclient.grpc import service_pb2

from services.core.adapters.triton_model import OUTPUT, version_of
from services.core.errors import Unavailable
from services.core.model_files import Identity

# float32 is within 1e-6; a GPU that computes in half precision is within 1e-3.
_MAX_LENGTH_ERROR = 1e-3


def vectors_of(response: service_pb2.ModelInferResponse, texts: int, identity: Identity) -> np.ndarray:
    """Return float32[texts, dim], unit rows.

    Raises:
        Unavailable: the answer is of another model, of another shape, or holds what are no unit vectors.
    """
    if response.model_version != version_of(identity.model_id):
        raise Unavailable(
            f"triton answered with version {response.model_version!r} of its model, {identity.model_id!r} is version "
            f"{version_of(identity.model_id)!r}; vectors of two models can't be mixed"
        )
    rows = _rows(response, (texts, identity.dim))
    lengths = np.linalg.norm(rows, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= _MAX_LENGTH_ERROR))
    if len(wrong):
        raise Unavailable(
            f"triton returned {len(wrong)} of {texts} vectors of {identity.model_id!r} that are not finite "
            f"or not of length 1, the first of length {lengths[wrong[0]]}"
        )
    return rows


def _rows(response: service_pb2.ModelInferResponse, shape: tuple[int, int]) -> np.ndarray:
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
        if output.name == OUTPUT:
            found = (output.datatype, tuple(output.shape), len(raw))
            if found != ("FP32", shape, 4 * math.prod(shape)):
                raise Unavailable(
                    f"triton returned {found[0]}{list(found[1])} in {found[2]} bytes, not FP32{list(shape)}"
                )
            return np.frombuffer(raw, "<f4").reshape(shape)
    raise Unavailable(f"triton returned no output {OUTPUT!r}")
