"""`quarry search`: in this process if the data directory is free, else by its owner."""

import json
from argparse import Namespace
from typing import Any

from services.cli.render import print_hits
from services.core.settings import Settings
from services.embedded.access import persist, reach
from services.embedded.client import OwnerClient
from services.embedded.owner import Owner


def search(arguments: Namespace, settings: Settings) -> int:
    """Search and print the hits; finding nothing is no failure."""
    query = {
        "q": arguments.query,
        "repo": arguments.repo,
        "lang": arguments.lang,
        "path": arguments.path,
        "mode": arguments.mode,
        "limit": arguments.limit,
        "explain": arguments.explain,
    }
    answer = persist(lambda: _answer(reach(settings, "search"), query))
    if arguments.json:
        print(json.dumps(answer))
    else:
        print_hits(answer)
    return 0


def _answer(access: Owner | OwnerClient, query: dict[str, Any]) -> dict[str, Any]:
    if isinstance(access, OwnerClient):
        return access.get("/v1/search", **query)
    try:
        from services.api.request import parse_search

        return access.searcher.search(parse_search(query)).document()
    finally:
        access.close()
