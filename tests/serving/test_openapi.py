"""The OpenAPI page tells the truth: Schemathesis asks what it lists, and more than that."""

import time

import pytest
import requests
import schemathesis
from hypothesis import settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.openapi import document
from serving.rest import routes
from tests.serving.conftest import Server
from tests.serving.junk import SECONDS

LABELS = ["praise", "blame", "neutral"]
PAGE = document("hotels", {"versions": ["one"], "parameters": {"labels": LABELS}})
CONFIG = SchemathesisConfig.from_dict(
    # 413 too: what is over a maxLength may be over the size of a body.
    {"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}}
)


@pytest.fixture(scope="module")
def session() -> requests.Session:
    return requests.Session()


def test_the_page_is_served_and_lists_every_route_and_no_other(server: Server) -> None:
    assert server.get("/openapi.json").json() == PAGE
    listed = {
        (path, method.upper())
        for path, item in PAGE["paths"].items()
        for method in set(item) & {"get", "post"}
    }
    served = {
        (route.path, method)
        for route in routes(None, None)  # nothing is asked of them
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert listed == served


@schemathesis.openapi.from_dict(PAGE, config=CONFIG).parametrize()
@settings(max_examples=60, deadline=None)
def test_what_the_page_lists_is_what_is_answered(
    case: schemathesis.Case, server: Server, session: requests.Session
) -> None:
    began = time.monotonic()
    answer = case.call(base_url=server.url(""), session=session, timeout=SECONDS)
    assert time.monotonic() - began < SECONDS
    # A schema cannot say that a shape tells the number of texts, so V2 may refuse what fits it.
    unsaid = [positive_data_acceptance] if case.operation.path.endswith("/infer") else []
    case.validate_response(answer, excluded_checks=unsaid)
