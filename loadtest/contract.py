"""The contract of the HTTP API, against which every answer is checked."""

import re
from functools import cache
from typing import Any

import jsonschema_rs

from services.api.openapi import openapi

_SHOWN_CHARS = 200


def breach(method: str, path: str, status: int, body: Any) -> str:
    """Say how an answer breaks the contract, "" if it keeps it; `path` is without the query string."""
    schema = _schema(method, path, status)
    if schema is None:
        return f"status {status} of {method} {path} is not in the contract"
    error = next(iter(schema.iter_errors(body)), None)
    return f"{'/'.join(map(str, error.instance_path))}: {error.message}"[:_SHOWN_CHARS] if error else ""


@cache
def _schema(method: str, path: str, status: int) -> jsonschema_rs.Draft202012Validator | None:
    template = next((each for each in openapi()["paths"] if _matches(each, path)), "")
    operation = openapi()["paths"].get(template, {}).get(method.lower(), {})
    content = operation.get("responses", {}).get(str(status), {}).get("content", {})
    if "application/json" not in content:
        return None
    whole = {**content["application/json"]["schema"], "components": openapi()["components"]}
    return jsonschema_rs.Draft202012Validator(whole)


def _matches(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\\{\w+\\}", ".+", re.escape(template)), path) is not None
