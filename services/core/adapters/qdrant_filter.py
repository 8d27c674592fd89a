"""A `Filter` as a Qdrant server takes it, in JSON."""

from collections.abc import Iterable
from typing import Any

from services.core.adapters.stored_points import paths_by_repo
from services.core.ports import Filter

Condition = dict[str, Any]


def to_json(where: Filter) -> Condition | None:
    """Return the filter, None if every point passes."""
    must = [
        *any_of("repo", where.repos),
        *any_of("lang", where.languages),
        *any_of("ext", where.extensions),
        *_prefixes(where.path_prefixes),
        *_paths(where),
    ]
    must_not = [*any_of("gen", where.staged), *any_of("retired", where.retired)]
    return {key: part for key, part in (("must", must), ("must_not", must_not)) if part} or None


def any_of(key: str, values: Iterable[str] | Iterable[int]) -> list[Condition]:
    """Return the condition that `key` has one of the values; none if there are none."""
    wanted = list(dict.fromkeys(values))
    return [{"key": key, "match": {"any": wanted}}] if wanted else []


def _prefixes(prefixes: tuple[str, ...]) -> list[Condition]:
    if not prefixes or "" in prefixes:
        return []
    return _either([{"key": "path", "match": {"prefix": prefix}} for prefix in prefixes])


def _paths(where: Filter) -> list[Condition]:
    return _either(
        [{"must": any_of("repo", (repo,)) + any_of("path", paths)} for repo, paths in paths_by_repo(where).items()]
    )


def _either(conditions: list[Condition]) -> list[Condition]:
    return [{"should": conditions}] if len(conditions) > 1 else conditions
