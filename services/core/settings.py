"""Every setting of the embedded mode, read once from the environment."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from services.core.errors import InvalidRequest

_REPOSITORY_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings; each field is ``QUARRY_<NAME>`` in the environment.

    home: the data directory of the embedded mode.
    workers: processes that chunk and embed; 0 means one per available core.
    embedder: ``static`` or ``onnx``.
    model: folder of the model for that embedder; empty means the shipped one.
    cache: whether embeddings are cached at all.
    cache_size_mb: limit of the embedding cache, 10^6 bytes; least recently used go first.
    max_file_bytes: larger files are skipped (Sourcegraph's limit is the same 1 MiB).
    batch_bytes: source text in one batch, and so about what one pack holds.
    parse_timeout_s: a file that parses for longer is cut by lines.
    max_attempts: a batch that failed so often is dead.
    shard_points: a shard of vectors is sealed at this size.
    exact_points: up to this many points dense search is exact, above it quantised and rescored.
    scan_timeout_s: time limit of an exact or regex search.
    allowed_hosts: further names, comma separated, that browsers may reach `quarry serve` by.
    """

    home: Path = Path(".quarry")
    workers: int = 0
    embedder: str = "static"
    model: str = ""
    cache: bool = True
    cache_size_mb: int = 1000
    max_file_bytes: int = 1 << 20
    batch_bytes: int = 4 << 20
    parse_timeout_s: float = 10.0
    max_attempts: int = 5
    shard_points: int = 100_000
    exact_points: int = 60_000
    scan_timeout_s: float = 10.0
    allowed_hosts: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from `env`.

        Raises:
            InvalidRequest: a value is not of its field's type, or out of range.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = f"QUARRY_{field.name.upper()}"
            if name in env:
                values[field.name] = _parse(name, env[name], type(field.default))
        settings = cls(**values)
        return settings._checked()

    def to_json(self) -> str:
        """Return the settings as one line, for a process of one's own to read with `from_json`."""
        return json.dumps({field.name: str(getattr(self, field.name)) for field in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Read what `to_json` wrote."""
        return cls.from_env({f"QUARRY_{name.upper()}": value for name, value in json.loads(text).items()})

    @property
    def worker_count(self) -> int:
        """Number of worker processes to run."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def static_model(self) -> Path:
        """Folder of the static model."""
        return Path(self.model) if self.model else _REPOSITORY_ROOT / "models" / "quarry-static"

    def _checked(self) -> "Settings":
        if self.embedder not in ("static", "onnx"):
            raise InvalidRequest(f"QUARRY_EMBEDDER={self.embedder!r} is unknown; use 'static' or 'onnx'")
        for name in ("cache_size_mb", "max_file_bytes", "batch_bytes", "max_attempts", "shard_points"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"QUARRY_{name.upper()}={getattr(self, name)} must be at least 1")
        for name in ("parse_timeout_s", "scan_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidRequest(f"QUARRY_{name.upper()}={getattr(self, name)} must be a number of seconds above 0")
        if self.workers < 0:
            raise InvalidRequest(f"QUARRY_WORKERS={self.workers} must be 0 (one per core) or more")
        return self


def _parse(name: str, text: str, kind: type[Any]) -> Any:
    if kind is bool:
        lowered = text.strip().lower()
        if lowered in ("1", "true", "on", "yes"):
            return True
        if lowered in ("0", "false", "off", "no"):
            return False
        raise InvalidRequest(f"{name}={text!r} is not a switch; use on or off")
    if issubclass(kind, Path):
        return Path(text).expanduser()
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidRequest(f"{name}={text!r} is not of type {kind.__name__}") from error
