"""The config.pbtxt of the Triton model, the same for both backends but for where it runs."""

from dataclasses import dataclass
from string import Template

from services.core.adapters.triton_model import (
    BUCKETS,
    BULK_PRIORITY,
    ID_PARAMETER,
    INPUTS,
    MODEL,
    OUTPUT,
    QUERY_PRIORITY,
    version_of,
)
from services.core.model_files import Identity

# Longer than any client waits for an answer: what has waited so long is wanted by nobody.
_QUERY_TIMEOUT_US = 5_000_000
_BULK_TIMEOUT_US = 60_000_000
# Long enough for the requests of one client to meet, short beside a search.
_MAX_DELAY_US = 1000

_CONFIG = Template("""\
name: "$model"
backend: "$backend"
max_batch_size: $max_texts
version_policy { specific { versions: [ $version ] } }
parameters { key: "$id_parameter" value { string_value: "$model_id" } }
$inputs
output { name: "$output" data_type: TYPE_FP32 dims: [ $dim ] }
instance_group { kind: $kind count: $instances }
dynamic_batching {
  max_queue_delay_microseconds: $delay
  priority_levels: $bulk
  default_priority_level: $bulk
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: $bulk_timeout
    allow_timeout_override: true
    max_queue_size: $queue
  }
  priority_queue_policy {
    key: $query
    value {
      timeout_action: REJECT
      default_timeout_microseconds: $query_timeout
      allow_timeout_override: true
      max_queue_size: $queue
    }
  }
}
$warmup
""")
_INPUT = 'input { name: "%s" data_type: TYPE_INT64 dims: [ -1 ] }'
_WARM_UP = 'model_warmup { name: "%d tokens" batch_size: %d %s }'
_WARM_INPUT = 'inputs { key: "%s" value { data_type: TYPE_INT64 dims: [ %d ] zero_data: true } }'


@dataclass(frozen=True, slots=True)
class Deployment:
    """How the model runs.

    max_texts: that run together at most.
    instances: executions side by side on one device.
    max_queue: requests that wait at most, for each priority.
    """

    backend: str
    device: str
    max_texts: int
    instances: int = 1
    max_queue: int = 256


def config_text(identity: Identity, deployment: Deployment) -> str:
    """Return the config.pbtxt of a model.

    Every bucket is warmed up with the largest batch before the model is ready, so that a device with too little
    memory shows when the server starts, not under load.
    """
    warm = (
        _WARM_UP % (bucket, deployment.max_texts, " ".join(_WARM_INPUT % (name, bucket) for name in INPUTS))
        for bucket in BUCKETS
    )
    return _CONFIG.substitute(
        model=MODEL,
        backend=deployment.backend,
        max_texts=deployment.max_texts,
        version=version_of(identity.model_id),
        id_parameter=ID_PARAMETER,
        model_id=identity.model_id,
        inputs="\n".join(_INPUT % name for name in INPUTS),
        output=OUTPUT,
        dim=identity.dim,
        kind=f"KIND_{deployment.device.upper()}",
        instances=deployment.instances,
        delay=_MAX_DELAY_US,
        bulk=BULK_PRIORITY,
        query=QUERY_PRIORITY,
        bulk_timeout=_BULK_TIMEOUT_US,
        query_timeout=_QUERY_TIMEOUT_US,
        queue=deployment.max_queue,
        warmup="\n".join(warm),
    )
