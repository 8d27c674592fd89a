"""`quarry model pull`: the files of the transformer model, for machines that cannot install its package."""

import json
from argparse import Namespace
from pathlib import Path

from services.core.model_pull import HUB
from services.core.model_pull import pull as fetch
from services.core.settings import Settings


def pull(arguments: Namespace, settings: Settings) -> int:
    """Fetch the model's files, checked against the digests they were published with."""
    folder = Path(arguments.into) if arguments.into else settings.home / "models" / "all-minilm-l6-v2"
    fetch(folder, hub=HUB if arguments.hub is None else arguments.hub or None)
    if arguments.json:
        print(json.dumps({"model": str(folder.resolve())}))
    else:
        print(f"the model is in {folder}; to use it: QUARRY_MODEL={folder.resolve()} QUARRY_EMBEDDER=onnx")
    return 0
