"""The contract of the HTTP API, against which every answer is checked."""

import re
from functools import cache
from typing import Any

import jsonschema_rs

from services.api.openapi import openapi

_SHOWN_CHARS = 200


def breach(method: str, path: str, status: int, body: Any) -> str:
    """Say how an answer breaks the contract, "" if it keeps it; `path` is without the query string.

    A path that the contract does not describe promises nothing.
    """
    template = next((each for each in openapi()["paths"] if _matches(each, path)), "")
    if not template:
        return ""
    schema = _schema(template, method.lower(), str(status))
    if schema is None:
        return f"status {status} of {method} {template} is not in the contract"
    error = next(iter(schema.iter_errors(body)), None)
    if error is None:
        return ""
    place = "/".join(map(str, error.instance_path)) or "answer"
    return f"{place}: {error.message}"[:_SHOWN_CHARS]


@cache
def _schema(template: str, method: str, status: str) -> jsonschema_rs.Draft202012Validator | None:
    operation = openapi()["paths"][template].get(method, {})
    content = operation.get("responses", {}).get(status, {}).get("content", {})
    if "application/json" not in content:
        return None
    whole = {**content["application/json"]["schema"], "components": openapi()["components"]}
    return jsonschema_rs.Draft202012Validator(whole)


def _matches(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\\{\w+\\}", ".+", re.escape(template)), path) is not None
