"""`/v1/webhooks`: where forges tell that something was pushed."""

import time
from typing import Any

from flask import Blueprint, request

from services.api.services import Services
from services.api.webhooks import open_delivery, receive
from services.core.errors import QuarryError

FORM = "application/x-www-form-urlencoded"


def webhook_views(services: Services) -> Blueprint:
    """Return the routes."""
    views = Blueprint("webhooks", __name__)

    @views.post("/v1/webhooks/<any(github, gitlab, gitea):forge>")
    def take(forge: str) -> tuple[dict[str, Any], int]:
        delivery = open_delivery(forge, request.headers, request.get_data(), form=request.mimetype == FORM)
        try:
            answer = receive(services, delivery, time.time())
        except QuarryError as error:
            services.metrics.webhooks.labels(forge, error.code).inc()
            raise
        services.metrics.webhooks.labels(forge, answer.outcome).inc()
        return answer.document, answer.status

    return views
