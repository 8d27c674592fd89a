"""JSON as strict as the API needs it: no duplicate keys, no NaN, no bombs, no characters that can't be stored."""

import json
from typing import Any

from services.core.errors import InvalidRequest


def parse_json(data: bytes) -> Any:
    """Return the value that `data` holds.

    Raises:
        InvalidRequest: it is not JSON in UTF-8, or one of the things named above.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8: byte {error.start} is invalid") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply") from error
    except ValueError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error
    return value


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that `data` holds.

    Raises:
        InvalidRequest: it is not one.
    """
    value = parse_json(data)
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be a JSON object, not {_kind(value)}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidRequest(f"the key {twice[:60]!r} occurs twice in one object")
    return value


def _refuse(constant: str) -> Any:
    raise InvalidRequest(f"{constant} is not JSON; use a number or null")


def _kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
