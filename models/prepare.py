"""The `model` service of docker-compose.yml: MiniLM, fetched once, and laid out for Triton.

The files that clients need go into /models/minilm, the model repository of the server into /models/repository.
"""

import os
import sys
from pathlib import Path

from models.triton.build import MAX_TEXTS, build
from models.triton.config import Deployment
from services.core.errors import QuarryError
from services.core.model_files import model_files
from services.core.model_pull import HUB, pull
from services.core.settings import Settings

_MODELS = Path("/models")


def main() -> int:
    """Return the exit status; what is there and whole is not fetched again."""
    device = os.environ.get("QUARRY_TRITON_DEVICE", "cpu")
    try:
        folder = pull(_MODELS / "minilm", hub=os.environ.get("QUARRY_MODEL_HUB") or HUB)
        files = model_files(Settings(model=str(folder)))
        print(build(files, _MODELS / "repository", Deployment("onnxruntime", device, MAX_TEXTS[device], 1)))
    except QuarryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
