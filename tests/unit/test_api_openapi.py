import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from services.api.app import create_app
from services.api.openapi import openapi
from services.core.deliveries import Deliveries
from tests.fakes_search import Index

# A valid query is refused where it is no regular expression, and a source where there is none:
# the schema can't say so, and that accepted data is accepted is left out for it.
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
)


# The stream of a job that never ends is tested by itself.
CASES = [
    (method, path, mode)
    for path, item in openapi()["paths"].items()
    for method, operation in item.items()
    if method != "parameters" and not path.endswith("events")
    for mode in GenerationMode
    # Where any text will do there is nothing invalid to send.
    if mode is GenerationMode.POSITIVE or operation.keys() & {"parameters", "requestBody"} or "{id}" in path
]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    index = Index(tmp_path_factory.mktemp("index"))
    index.add("app", {"a.py": "class Shiny:\n    pass\n"})
    return create_app(
        index.searcher,
        jobs=index.jobs,
        catalog=index.catalog,
        ledger=index.ledger,
        event_poll_s=0.01,
        deliveries=Deliveries(index.engine),
        webhook_secret="0123456789abcdef",
    )


def test_the_description_is_valid_openapi():
    OpenAPIV31SpecValidator(openapi()).validate()


def test_every_route_is_described_and_every_description_has_a_route(app):
    routes = {
        (method, re.sub(r"<(?:\w+(?:\(.*?\))?:)?(\w+)>", r"{\1}", rule.rule).replace("{job_id}", "{id}"))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith(("pages.", "static", "operations.docs"))
    }
    described = {
        (method.upper(), path) for path, item in openapi()["paths"].items() for method in item if method != "parameters"
    }

    assert routes == described


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_answers_are_as_described_whatever_is_asked(app, method, path, mode):
    operation = schemathesis.openapi.from_wsgi("/openapi.json", app)[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case):
        case.call_and_validate(checks=CHECKS)

    ask()
