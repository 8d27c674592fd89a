"""Joining: the segments of several sealed shards become one shard, whose segments the engine searches side by side.

Shards are searched one after the other, because a search holds the GIL, but the segments of a shard on all cores; and
each call has its own cost. Files are linked, not copied: until the old shards are removed they are the same files.
"""

import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from services.core.adapters.edge_errors import translated
from services.core.adapters.edge_layout import ENGINE_FOLDER, sync_tree, write_inventory
from services.core.adapters.edge_shard import JOINED, TERMS_FILE, Shard, save_keys
from services.core.adapters.edge_terms import TermCounts

_CONFIG = "edge_config.json"
_SEGMENTS = "segments"


def neighbours_to_join(shards: Sequence[Shard], shard_points: int) -> tuple[Shard, Shard] | None:
    """Return two sealed shards, one after the other, that are small enough to be one, None if there are none."""
    most = (JOINED + 0.5) * shard_points
    pairs = (pair for pair in pairwise(shards) if pair[0].points + pair[1].points <= most)
    return next(pairs, None)


def join(shards: Sequence[Shard], target: Path) -> Shard:
    """Return the shard of all the points of `shards`, made in `target` and on disk; nothing may change those any more.

    Raises:
        Unavailable: the files can't be linked.
        CorruptData: what is made of them can't be opened.
    """
    for shard in shards:
        shard.flush()
    with translated(target):
        segments = target / ENGINE_FOLDER / _SEGMENTS
        segments.mkdir(parents=True)
        shutil.copy(shards[0].directory / ENGINE_FOLDER / _CONFIG, segments.parent)
        for shard in shards:
            _link_tree(shard.directory / ENGINE_FOLDER / _SEGMENTS, segments)
        save_keys(target, np.sort(np.concatenate([_keys(shard) for shard in shards])))
        terms = TermCounts()
        for shard in shards:
            terms.merge(shard.read_terms())
        terms.save(target / TERMS_FILE)
        write_inventory(target)
        sync_tree(target)
    joined = Shard.load(target)
    joined.settle_keys()
    return joined


def _keys(shard: Shard) -> np.ndarray:
    return shard.all_keys() if shard.keys is None else shard.keys


def _link_tree(source: Path, target: Path) -> None:
    for folder, _folders, names in os.walk(source):
        beside = target / Path(folder).relative_to(source)
        beside.mkdir(exist_ok=True)
        for name in names:
            os.link(Path(folder) / name, beside / name)
