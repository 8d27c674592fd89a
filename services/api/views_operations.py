"""Health, metrics, and the description of the API."""

from typing import Any

from flask import Blueprint, Response, render_template

from services.api.deadline import within
from services.api.openapi import openapi
from services.api.services import Services
from services.core.ports import Filter

# Whoever asks whether this is ready waits no longer.
_READY_S = 2.0


def operation_views(services: Services) -> Blueprint:
    """Return the routes."""
    views = Blueprint("operations", __name__)

    @views.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @views.get("/readyz")
    def ready() -> dict[str, str]:
        within(_READY_S, lambda: _ask_servers(services))
        return {"status": "ready"}

    @views.get("/metrics")
    def metrics() -> Response:
        services.metrics.points.set(_points(services))
        services.metrics.repos.set(len(services.catalog.list()))
        if services.depths is not None:
            services.metrics.waits(services.depths())
        return Response(services.metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @views.get("/openapi.json")
    def description() -> dict[str, Any]:
        return openapi()

    @views.get("/docs")
    def docs() -> str:
        return render_template("docs.html", document=openapi())

    return views


def _ask_servers(services: Services) -> None:
    services.check_ready()
    services.catalog.list()
    _points(services)


def _points(services: Services) -> int:
    fences = services.ledger.fences()
    return services.searcher.vectors.count(Filter(staged=fences.staged, retired=fences.retired))
