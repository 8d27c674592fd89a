"""Query strings: decoded strictly, every parameter known, and of the type it must have."""

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from flask import request

from services.core.errors import InvalidRequest

_MAX_PARAMETERS = 500
# 64 bits take 19 digits; Python itself would convert thousands.
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_TRUE, _FALSE = ("1", "true"), ("0", "false")


def query_parameters(allowed: Collection[str], *, lists: Collection[str] = ()) -> dict[str, Any]:
    """Return the parameters of the current request's query string; those in `lists` as lists.

    Raises:
        InvalidRequest: one is unknown, given twice, or not UTF-8.
    """
    values: dict[str, Any] = {}
    for name, value in _pairs():
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name not in allowed:
            raise InvalidRequest(f"parameter {name[:40]!r} is unknown; use {', '.join([*allowed, *lists])}")
        elif name in values:
            raise InvalidRequest(f"parameter {name!r} is given twice")
        else:
            values[name] = value
    return values


def integer(values: dict[str, Any], name: str) -> None:
    """Turn the parameter `name`, if given, into an integer.

    Raises:
        InvalidRequest: it is none.
    """
    if name not in values:
        return
    if _INTEGER.fullmatch(values[name]) is None:
        raise InvalidRequest(f"{name} must be an integer of at most 18 digits, not {values[name][:40]!r}")
    values[name] = int(values[name])


def bounded(values: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    """Return the integer parameter `name`.

    Raises:
        InvalidRequest: it is none, or out of range.
    """
    integer(values, name)
    value: int = values.get(name, default)
    if not low <= value <= high:
        raise InvalidRequest(f"{name} is {value}, must be from {low} to {high}")
    return value


def switch(values: dict[str, Any], name: str) -> bool:
    """Return the parameter `name` as true or false, false if it is not given.

    Raises:
        InvalidRequest: it is neither.
    """
    value = values.get(name, "0")
    if value not in (*_TRUE, *_FALSE):
        raise InvalidRequest(f"{name} must be 1 or 0, not {value[:40]!r}")
    return value in _TRUE


def _pairs() -> list[tuple[str, str]]:
    try:
        text = request.query_string.decode("utf-8")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise InvalidRequest("the query string is not UTF-8") from error
    except ValueError as error:
        raise InvalidRequest(f"the query string has over {_MAX_PARAMETERS} parameters") from error
