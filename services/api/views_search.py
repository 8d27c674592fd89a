"""`/v1/search`, by GET and POST."""

from typing import Any

from flask import Blueprint, request

from services.api.parameters import integer, query_parameters, switch
from services.api.request import SearchRequest, parse_search
from services.api.services import Services
from services.api.strict_json import parse_object

_SINGLE = ("q", "path", "mode", "limit", "offset", "explain")
_LISTS = ("repo", "lang")


def search_views(services: Services) -> Blueprint:
    """Return the routes."""
    views = Blueprint("search", __name__)

    @views.get("/v1/search")
    def search_by_get() -> dict[str, Any]:
        return answer(services, parse_search(url_parameters()))

    @views.post("/v1/search")
    def search_by_post() -> dict[str, Any]:
        return answer(services, parse_search(parse_object(request.get_data())))

    return views


def url_parameters() -> dict[str, Any]:
    """Return the search parameters of the current request's query string."""
    values = query_parameters(_SINGLE, lists=_LISTS)
    integer(values, "limit")
    integer(values, "offset")
    values["explain"] = switch(values, "explain")
    return values


def answer(services: Services, wanted: SearchRequest) -> dict[str, Any]:
    """Search, count the search, and return the answer as JSON."""
    result = services.searcher.search(wanted)
    services.metrics.searched(wanted.mode.value, result.took_ms, result.damaged)
    return result.document()
