"""Every setting, read once from the environment."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from services.core.errors import InvalidRequest

_REPOSITORY_ROOT = Path(__file__).resolve().parents[2]


_AT_LEAST_ONE = (
    *("cache_size_mb", "max_file_bytes", "batch_bytes", "max_attempts", "shard_points", "max_open_jobs"),
    "rerank_depth",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings; each field is ``QUARRY_<NAME>`` in the environment, or in the file that ``QUARRY_<NAME>_FILE`` names.

    home: the data directory of the embedded mode; in the distributed one, where the cloner keeps its mirrors.
    workers: processes that chunk and embed; 0 means one per available core.
    embedder: ``static``, ``onnx`` or ``triton``.
    onnx_provider: what the onnx embedder computes on, ``cpu`` or ``cuda``.
    model: folder of the model for that embedder; empty means the shipped one.
    rerank: ``off``, ``onnx`` or ``triton``: the transformer that judges the first hits of a search again.
    rerank_depth: how many of them.
    cache: whether embeddings are cached at all.
    cache_size_mb: limit of the embedding cache, 10^6 bytes; least recently used go first.
    max_file_bytes: larger files are skipped (Sourcegraph's limit is the same 1 MiB).
    batch_bytes: source text in one batch, and so about what one pack holds.
    parse_timeout_s: a file that parses for longer is cut by lines.
    max_attempts: a batch that failed so often is dead.
    shard_points: a shard of vectors is sealed at this size.
    exact_points: up to this many points dense search is exact, above it quantised and rescored.
    scan_timeout_s: time limit of an exact or regex search.
    allowed_hosts: further names, comma separated, that browsers may reach the server by.
    git_allow: hosts, comma separated, that repositories are fetched from although their addresses are private,
        and by plain http too.
    webhook_secret: what forges sign their webhooks with, for repositories without a secret of their own.

    The distributed mode only:
    host, port: where the API listens.
    heartbeat: the file that a worker or sweeper touches as long as it works.
    database_url: ``postgresql+psycopg://user:password@host/name``.
    broker_url, cache_url: ``redis://host:port/db``; two servers, the first must not evict.
    s3_url: ``http(s)://host:port/bucket``; with s3_access_key, s3_secret_key and s3_region.
    qdrant_url, qdrant_api_key: the vector store.
    qdrant_grpc_port: its port for gRPC, over which inserting points takes less CPU time; 0 is REST for everything.
    triton_url: ``host:port`` of Triton's gRPC service.
    lease_s: how long after its worker has died a batch or job is given to another.
    resend_s: how long a message may wait in its queue before it is sent again.
    sweep_s: how often the sweeper looks for what is overdue.
    poll_s: how often a repository is looked at although no webhook said so; 0 is never.
    search_grace_s: how long after a commit the points it replaced are deleted; no search may take longer.
    max_open_jobs: further requests to index are refused with 503 as long as so many wait or run.
    """

    home: Path = Path(".quarry")
    workers: int = 0
    embedder: str = "static"
    onnx_provider: str = "cpu"
    model: str = ""
    rerank: str = "off"
    rerank_depth: int = 20
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
    git_allow: str = ""
    webhook_secret: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    heartbeat: Path = Path("/tmp/quarry-heartbeat")
    database_url: str = ""
    broker_url: str = ""
    cache_url: str = ""
    s3_url: str = ""
    s3_access_key: str = ""
    s3_secret_key: str = ""
    s3_region: str = "us-east-1"
    qdrant_url: str = ""
    qdrant_api_key: str = ""
    qdrant_grpc_port: int = 0
    triton_url: str = ""
    lease_s: float = 30.0
    resend_s: float = 30.0
    sweep_s: float = 2.0
    poll_s: float = 300.0
    search_grace_s: float = 60.0
    max_open_jobs: int = 1000

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from `env`.

        Raises:
            InvalidRequest: a value is not of its field's type, or out of range.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = f"QUARRY_{field.name.upper()}"
            text = _text(name, env)
            if text is not None:
                values[field.name] = _parse(name, text, type(field.default))
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

    @property
    def allowed_git_hosts(self) -> frozenset[str]:
        """The hosts of `git_allow`."""
        return frozenset(host.strip().lower() for host in self.git_allow.split(",")) - {""}

    def _checked(self) -> "Settings":
        if self.embedder not in ("static", "onnx", "triton"):
            raise InvalidRequest(f"QUARRY_EMBEDDER={self.embedder!r} is unknown; use 'static', 'onnx' or 'triton'")
        if self.rerank not in ("off", "onnx", "triton"):
            raise InvalidRequest(f"QUARRY_RERANK={self.rerank!r} is unknown; use 'off', 'onnx' or 'triton'")
        if self.onnx_provider not in ("cpu", "cuda"):
            raise InvalidRequest(f"QUARRY_ONNX_PROVIDER={self.onnx_provider!r} is unknown; use 'cpu' or 'cuda'")
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise InvalidRequest(f"QUARRY_{name.upper()}={getattr(self, name)} must be at least 1")
        for name in ("parse_timeout_s", "scan_timeout_s", "lease_s", "resend_s", "sweep_s", "search_grace_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidRequest(f"QUARRY_{name.upper()}={getattr(self, name)} must be a number of seconds above 0")
        if self.workers < 0:
            raise InvalidRequest(f"QUARRY_WORKERS={self.workers} must be 0 (one per core) or more")
        if not 0 <= self.poll_s < math.inf:
            raise InvalidRequest(f"QUARRY_POLL_S={self.poll_s} must be 0 (never) or a number of seconds")
        return self


def _text(name: str, env: Mapping[str, str]) -> str | None:
    path = env.get(f"{name}_FILE")
    if path is None:
        return env.get(name)
    if name in env:
        raise InvalidRequest(f"{name} and {name}_FILE are both set; set one")
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{name}_FILE={path!r} can't be read: {error}") from error


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
