"""The one module that knows concrete adapters: it turns settings into ports."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.core.errors import CorruptData, InvalidRequest, NotFound, Unavailable
from services.core.ports import BlobStore, Embedder, EmbeddingCache, Reranker
from services.core.settings import Settings
from services.core.versions import SPARSE_VERSION, SPLITTER_VERSION, static_model_id

if TYPE_CHECKING:
    from services.core.adapters.qdrant import QdrantVectors
    from services.core.adapters.qdrant_collections import QdrantCollections
    from services.core.adapters.s3 import S3Bucket
    from services.core.adapters.vectors import EdgeVectors


def open_blobs(directory: Path) -> BlobStore:
    """Return the blob store of the embedded mode."""
    from services.core.adapters.blobs import DirectoryBlobs

    return DirectoryBlobs(directory)


def _bucket(settings: Settings) -> "S3Bucket":
    """Return the bucket the settings name."""
    from services.core.adapters.s3 import S3Bucket

    required(settings, "s3_url", "s3_access_key", "s3_secret_key")
    return S3Bucket(settings.s3_url, settings.s3_access_key, settings.s3_secret_key, settings.s3_region)


def open_served_blobs(settings: Settings) -> BlobStore:
    """Return the blob store of the distributed mode."""
    from services.core.adapters.s3 import S3Blobs

    return S3Blobs(_bucket(settings))


def create_bucket(settings: Settings) -> None:
    """Make the bucket of the blob store; one that is there is no error.

    Raises:
        Unavailable: the store does not answer, or does not allow it.
    """
    from services.core.adapters import s3

    s3.create_bucket(_bucket(settings))


def open_served_cache(settings: Settings) -> EmbeddingCache:
    """Return the embedding cache of the distributed mode, or one that remembers nothing when it is switched off."""
    from services.core.adapters.cache import NullCache

    if not settings.cache:
        return NullCache()
    from services.core.adapters.redis_cache import RedisCache

    required(settings, "cache_url")
    return RedisCache(settings.cache_url)


def open_collections(settings: Settings) -> "QdrantCollections":
    """Return the collections of the distributed mode's vector store."""
    from services.core.adapters.qdrant_collections import QdrantCollections
    from services.core.adapters.qdrant_server import QdrantServer

    required(settings, "qdrant_url")
    return QdrantCollections(QdrantServer(settings.qdrant_url, settings.qdrant_api_key))


def open_served_vectors(settings: Settings, collection: str, dim: int) -> "QdrantVectors":
    """Return a collection of the distributed mode's vector store."""
    from services.core.adapters.qdrant import QdrantVectors
    from services.core.adapters.qdrant_rpc import QdrantRpc
    from services.core.adapters.qdrant_server import QdrantServer

    required(settings, "qdrant_url")
    url, api_key, port = settings.qdrant_url, settings.qdrant_api_key, settings.qdrant_grpc_port
    return QdrantVectors(QdrantServer(url, api_key), collection, dim, QdrantRpc(url, port, api_key) if port else None)


def check_queue(settings: Settings) -> None:
    """Refuse a broker that may lose the queue.

    Raises:
        InvalidRequest: it may evict, or is the cache's server.
        Unavailable: it does not answer.
    """
    from services.core.adapters.redis_check import check_broker

    required(settings, "broker_url")
    check_broker(settings.broker_url, settings.cache_url)


def required(settings: Settings, *names: str) -> None:
    """Refuse settings that leave out what the distributed mode needs.

    Raises:
        InvalidRequest: names the first that is empty.
    """
    for name in names:
        if not getattr(settings, name):
            setting = f"QUARRY_{name.upper()}"
            raise InvalidRequest(f"{setting} is not set; the distributed mode needs it (docs/operations.md)")


def open_cache(settings: Settings, path: Path) -> EmbeddingCache:
    """Return the embedding cache, or one that remembers nothing when it is switched off."""
    from services.core.adapters.cache import NullCache, SqliteCache

    return SqliteCache(path, settings.cache_size_mb * 1_000_000) if settings.cache else NullCache()


def open_embedder(settings: Settings, *, threads: int = 1, urgent: bool = False) -> Embedder:
    """Return the embedder the settings name, with that many threads where it can use them.

    `urgent` says that people wait for what it embeds: a server does that before the rest.

    Raises:
        NotFound: its model is not there.
        Unavailable: its packages are not installed.
    """
    if settings.embedder == "triton":
        return _open_triton(settings, urgent=urgent)
    if settings.embedder == "onnx":
        try:
            from services.core.adapters.onnx import OnnxEmbedder, providers
            from services.core.model_files import model_files
        except ImportError as error:
            raise Unavailable(
                f"the onnx embedder needs {error.name!r}: pip install 'quarry[cpu]' or '[gpu]'"
            ) from error
        return OnnxEmbedder(model_files(settings), threads=threads, providers=providers(settings.onnx_provider))
    from services.core.adapters.static import StaticEmbedder

    return StaticEmbedder(settings.static_model)


def open_reranker(settings: Settings, cache: Callable[[], EmbeddingCache]) -> Reranker | None:
    """Return the re-ranker the settings name, None if that is off; `cache` opens the one that it remembers texts in.

    Raises:
        Unavailable: its model is not there, or its packages are not installed.
    """
    if settings.rerank == "off":
        return None
    from services.core.adapters.rerank_cosine import CosineReranker

    # QUARRY_MODEL is the embedder's: the folder of a static one holds no transformer.
    model = "" if settings.embedder == "static" else settings.model
    chosen = replace(settings, embedder=settings.rerank, model=model)
    # Somebody waits for it: one thread per core.
    return CosineReranker(open_embedder(chosen, threads=0, urgent=True), cache())


def _open_triton(settings: Settings, *, urgent: bool) -> Embedder:
    required(settings, "triton_url")
    try:
        from services.core.adapters.triton import BULK, QUERY, TritonEmbedder
        from services.core.model_files import expected_identity, tokenizer_file
    except ImportError as error:
        raise Unavailable(f"the triton embedder needs {error.name!r}: pip install 'quarry[triton]'") from error
    # Knowing what to expect, it connects to nothing before it is used: after a worker has forked.
    expected, calls = expected_identity(settings), QUERY if urgent else BULK
    return TritonEmbedder(settings.triton_url, tokenizer_file(settings), expected=expected, calls=calls)


def schema_of(embedder: Embedder) -> str:
    """Return the schema of an index that is made with `embedder`."""
    return f"{SPLITTER_VERSION}/{SPARSE_VERSION}/{embedder.model_id}"


def index_schema(settings: Settings) -> str:
    """Return what the points of an index depend on: those of different schemas can't be compared.

    A static model is not loaded for it.

    Raises:
        NotFound: the model is not there.
        Unavailable: the packages of its embedder are not installed.
    """
    if settings.embedder == "static":
        config = _static_config(settings.static_model)
        model = static_model_id(config["name"], config["digest"])
    else:
        model = open_embedder(settings).model_id
    return f"{SPLITTER_VERSION}/{SPARSE_VERSION}/{model}"


def _static_config(folder: Path) -> dict[str, str]:
    try:
        config: dict[str, str] = json.loads((folder / "config.json").read_bytes())
        return {name: config[name] for name in ("name", "digest")}
    except FileNotFoundError as error:
        raise NotFound(f"no static model at {str(folder)!r}; set QUARRY_MODEL to its folder") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptData(f"the static model in {str(folder)!r} can't be read: {error!r}") from error


def open_vectors(settings: Settings, directory: Path, dim: int) -> "EdgeVectors":
    """Return the vector store of the embedded mode.

    Raises:
        CorruptData: the directory is damaged.
    """
    from services.core.adapters.vectors import EdgeVectors

    return EdgeVectors(directory, dim, shard_points=settings.shard_points, exact_points=settings.exact_points)
