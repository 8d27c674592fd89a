"""What the Triton model and its client agree on: names, shapes, and the identity that keeps other models out.

The version number that Triton knows a model by is derived from the model's id, and every request names it:
a server that was restarted with another model refuses the request instead of answering it.
"""

from dataclasses import dataclass

from blake3 import blake3
from tritonclient.grpc import model_config_pb2

from services.core.errors import Unavailable
from services.core.model_files import MAX_TOKENS, Identity

MODEL = "minilm"
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "vectors"
# Texts are padded to one of these: Triton joins requests of one shape, and warms up each.
BUCKETS = (32, 64, 128, MAX_TOKENS)
QUERY_PRIORITY, BULK_PRIORITY = 1, 2
ID_PARAMETER = "quarry_model_id"


@dataclass(frozen=True, slots=True)
class Served:
    """A model as its server describes it; `max_texts` is the most one request may hold."""

    identity: Identity
    max_texts: int


def version_of(model_id: str) -> str:
    """Return the version number under which a model of that id is served, from 1 to 2^31."""
    return str(1 + (int(blake3(model_id.encode()).hexdigest()[:8], 16) >> 1))


def served(config: model_config_pb2.ModelConfig) -> Served:
    """Read what a server says of its model.

    Raises:
        Unavailable: it is not a model of Quarry's.
    """
    model_id = config.parameters[ID_PARAMETER].string_value if ID_PARAMETER in config.parameters else ""
    outputs = {output.name: output for output in config.output}
    if not model_id or OUTPUT not in outputs or len(outputs[OUTPUT].dims) != 1 or config.max_batch_size < 1:
        raise Unavailable(
            f"the Triton model {config.name!r} is not one that Quarry made: it lacks the parameter {ID_PARAMETER!r}, "
            f"the output {OUTPUT!r} or batches; make its repository with 'python -m models.triton.build'"
        )
    return Served(Identity(model_id, outputs[OUTPUT].dims[0]), config.max_batch_size)
