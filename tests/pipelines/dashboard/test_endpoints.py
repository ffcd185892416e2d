"""Whom the dashboard asks, and what it makes of answers."""

from collections.abc import Iterator

import pytest

from pipelines.dashboard.endpoints import Endpoints, within
from serving.errors import InputError
from tests.http_servers import Handler, listening


class Strange(Handler):
    """A server that is no predictor."""

    answer = (200, b"<p>hello</p>")

    def do_GET(self) -> None:  # the name that http.server calls
        self.send(*self.answer)

    do_POST = do_GET


@pytest.fixture
def strange() -> Iterator[str]:
    with listening(Strange) as url:
        yield url


@pytest.mark.parametrize(
    ("status", "body", "why", "error"),
    [
        (200, b"<p>hello</p>", "is not a predictor", "is not a prediction"),
        (200, b'{"versions": [], "predictions": []}', "is not a predictor", "is not a prediction"),
        (503, b'{"error": "the queue is full"}', "not ready", "503: the queue is full"),
        (302, b"", "not ready", "is not a prediction"),
    ],
)
def test_what_is_no_predictor_is_told_as_such(
    strange: str, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, why: str, error: str
) -> None:
    monkeypatch.setattr(Strange, "answer", (status, body))
    endpoints = Endpoints(lambda name: strange)
    state = endpoints.state("hotels")
    assert (state.url, state.version) == (strange, None)
    assert why in state.why
    assert error in endpoints.ask("hotels", "a text").error


@pytest.mark.parametrize("name", ["x@evil.example", "evil.example#", "../../etc", "a/b", "A", ""])
def test_a_name_of_the_store_cannot_choose_the_host(name: str) -> None:
    asked: list[str] = []
    endpoints = Endpoints(lambda each: asked.append(each))  # type: ignore[func-returns-value]  # None is wanted
    assert endpoints.state(name).url is None
    assert endpoints.ask(name, "a text").error == "No endpoint of this model is known."
    assert asked == []


def test_an_address_for_all_endpoints_names_the_model() -> None:
    assert within("http://{name}-predictor.team.svc/")("hotels") == (
        "http://hotels-predictor.team.svc"
    )
    for address in ("http://predictor", "{name}:80", "ftp://{name}"):
        with pytest.raises(InputError, match="must be an http address with"):
            within(address)
