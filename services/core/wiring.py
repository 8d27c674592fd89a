"""The one module that knows concrete adapters: it turns settings into ports."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from services.core.errors import CorruptData, NotFound, Unavailable
from services.core.ports import BlobStore, Embedder, EmbeddingCache
from services.core.settings import Settings
from services.core.versions import SPARSE_VERSION, SPLITTER_VERSION, static_model_id

if TYPE_CHECKING:
    from services.core.adapters.vectors import EdgeVectors


def open_blobs(directory: Path) -> BlobStore:
    """Return the blob store of the embedded mode."""
    from services.core.adapters.blobs import DirectoryBlobs

    return DirectoryBlobs(directory)


def open_cache(settings: Settings, path: Path) -> EmbeddingCache:
    """Return the embedding cache, or one that remembers nothing when it is switched off."""
    from services.core.adapters.cache import NullCache, SqliteCache

    return SqliteCache(path, settings.cache_size_mb * 1_000_000) if settings.cache else NullCache()


def open_embedder(settings: Settings, *, threads: int = 1) -> Embedder:
    """Return the embedder the settings name, with that many threads where it can use them.

    Raises:
        NotFound: its model is not there.
        Unavailable: its packages are not installed.
    """
    if settings.embedder == "onnx":
        try:
            from services.core.adapters.onnx import OnnxEmbedder, model_files
        except ImportError as error:
            raise Unavailable(
                f"the onnx embedder needs {error.name!r}: pip install 'quarry[cpu]' or '[gpu]'"
            ) from error
        return OnnxEmbedder(model_files(settings), threads=threads)
    from services.core.adapters.static import StaticEmbedder

    return StaticEmbedder(settings.static_model)


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
