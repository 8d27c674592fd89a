"""The web application: the HTTP API, the Model Context Protocol, and the page."""

import time
from collections.abc import Callable, Collection
from threading import BoundedSemaphore

from flask import Flask, Response, g, request
from werkzeug.exceptions import UnsupportedMediaType

from services.api.guard import check_origin, protect
from services.api.jobs import Jobs
from services.api.mcp import mcp_views
from services.api.metrics import Metrics
from services.api.problems import answer_errors
from services.api.search import Searcher
from services.api.services import Depths, Services
from services.api.views_operations import operation_views
from services.api.views_pages import page_views
from services.api.views_repos import repo_views
from services.api.views_search import search_views
from services.api.views_webhooks import FORM, webhook_views
from services.api.webhooks import MAX_BODY_BYTES as MAX_WEBHOOK_BYTES
from services.core.catalog import Catalog
from services.core.deliveries import Deliveries
from services.core.ledger import Ledger

# The largest request that makes sense: a search with 200 repository names is under 60 KB.
_MAX_BODY_BYTES = 128 << 10
# A page of another site can send a form or nothing without asking the browser, but no JSON.
_JSON = ("application/json",)
_BODY_TYPES = {"webhooks.take": (*_JSON, FORM), "repos.retry": (*_JSON, "")}
_EVENT_STREAMS = 4
_EVENT_POLL_S = 0.25
# Static files are named without their version; an hour at most may pass before a new one is seen.
_STATIC_MAX_AGE_S = 3600


def create_app(
    searcher: Searcher,
    *,
    jobs: Jobs,
    catalog: Catalog,
    ledger: Ledger,
    allowed_hosts: Collection[str] | None = None,
    event_streams: int = _EVENT_STREAMS,
    event_poll_s: float = _EVENT_POLL_S,
    deliveries: Deliveries | None = None,
    webhook_secret: str = "",
    depths: Depths | None = None,
    check_ready: Callable[[], None] = lambda: None,
) -> Flask:
    """Return the WSGI application.

    allowed_hosts: names it is reached by, without port, in lower case; None admits any.
    """
    metrics = Metrics()
    streams = BoundedSemaphore(event_streams)
    services = Services(
        searcher,
        jobs,
        catalog,
        ledger,
        metrics,
        streams,
        event_poll_s,
        deliveries,
        webhook_secret,
        depths,
        check_ready,
    )
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = _STATIC_MAX_AGE_S
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = True
    _watch(app, metrics, allowed_hosts)
    answer_errors(app)
    for views in (search_views, repo_views, webhook_views, operation_views, mcp_views, page_views):
        app.register_blueprint(views(services))
    return app


def _watch(app: Flask, metrics: Metrics, allowed_hosts: Collection[str] | None) -> None:
    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        check_origin(request, allowed_hosts)
        if request.method == "POST" and request.url_rule:
            if request.mimetype not in _BODY_TYPES.get(request.endpoint or "", _JSON):
                raise UnsupportedMediaType
            if request.blueprint == "webhooks":
                request.max_content_length = MAX_WEBHOOK_BYTES

    @app.after_request
    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "unknown"
        method = request.method if request.method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
        metrics.requests.labels(method, route, str(response.status_code)).inc()
        metrics.seconds.labels(route).observe(time.perf_counter() - g.get("started", time.perf_counter()))
        return protect(response)
