"""Asks the endpoints: which version answers now, and what it says of one text."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from components.promotions import model_uri
from serving.errors import InputError

STATE_SECONDS = 3.0
"""How long an answer about an endpoint's state is kept."""
STATE_TIMEOUT = httpx.Timeout(1.0)
ASK_TIMEOUT = httpx.Timeout(15.0, connect=2.0)

Locate = Callable[[str], str | None]
"""Where a model's endpoint is, such as `http://127.0.0.1:8080`; None when nothing says."""


@dataclass(frozen=True)
class State:
    """What an endpoint said of itself."""

    url: str | None
    version: str | None = None
    """The version that answers, or None when none does."""
    why: str = ""
    """Why none does, as a sentence."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint said of a text, or why it said nothing."""

    scores: list[tuple[str, float]] = field(default_factory=list)
    """Labels with probabilities, best first; of a regression, its one value."""
    version: str = ""
    truncated: bool = False
    milliseconds: float = 0
    error: str = ""


class Endpoints:
    """The endpoints of the store's models; safe to use from many threads."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._client = httpx.Client(trust_env=False, follow_redirects=False)
        self._states: dict[str, tuple[float, State]] = {}
        self._asking: dict[str, threading.Lock] = {}

    def state(self, name: str) -> State:
        """What answers for a model now; it takes a second at most."""
        with self._asking.setdefault(name, threading.Lock()):
            at, known = self._states.get(name, (float("-inf"), None))
            if known is None or time.monotonic() - at > STATE_SECONDS:
                known = self._asked(name)
                self._states[name] = (time.monotonic(), known)
            return known

    def ask(self, name: str, text: str) -> Answer:
        """Classify one text at a model's endpoint."""
        url = self._place(name)
        if url is None:
            return Answer(error="No endpoint of this model is known.")
        began = time.monotonic()
        try:
            response = self._client.post(
                f"{url}/v1/models/{name}:predict",
                json={"instances": [text]},
                timeout=ASK_TIMEOUT,
            )
        except httpx.HTTPError as error:
            return Answer(error=_sentence(error))
        milliseconds = 1000 * (time.monotonic() - began)
        try:
            document = response.json()
            if response.status_code != 200:
                return Answer(error=f"It answered {response.status_code}: {document['error']}")
            prediction = document["predictions"][0]
            return Answer(
                scores=[(str(e["label"]), float(e["score"])) for e in prediction["scores"]],
                version=str(document.get("model_version", "")),
                truncated=bool(prediction.get("truncated")),
                milliseconds=milliseconds,
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            return Answer(error=f"Its answer ({response.status_code}) is not a prediction.")

    def _place(self, name: str) -> str | None:
        """Where a model answers. A name that no endpoint can have is nowhere: the store's folders
        must not choose the host that is asked, or a file of this machine."""
        try:
            model_uri("", name)
        except InputError:
            return None
        return self._locate(name)

    def _asked(self, name: str) -> State:
        url = self._place(name)
        if url is None:
            return State(None, why="No rollout of this model has told where it answers.")
        base = f"{url}/v2/models/{name}"
        try:
            ready = self._client.get(f"{base}/ready", timeout=STATE_TIMEOUT)
            if ready.status_code != 200:
                return State(url, why=f"It is not ready (it answered {ready.status_code}).")
            about = self._client.get(base, timeout=STATE_TIMEOUT)
            return State(url, version=str(about.json()["versions"][0]))
        except httpx.HTTPError as error:
            return State(url, why=_sentence(error))
        except (ValueError, LookupError, TypeError):
            return State(url, why="What answers there is not a predictor.")


def within(address: str) -> Locate:
    """Endpoints at an address with `{name}` in it; raises InputError for one without."""
    if base_of(address) is None or "{name}" not in address:
        raise InputError(
            f"--endpoint {address!r} must be an http address with {{name}} in it, such as "
            "http://{name}-predictor.finegate.svc."
        )
    return lambda name: address.replace("{name}", name).rstrip("/")


def base_of(url: str | None) -> str | None:
    """Scheme, host and port of a predict address; None for what is no web address."""
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else None


def _sentence(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "It did not answer in time."
    if isinstance(error, httpx.ConnectError):
        return "Nothing listens there."
    return f"The connection failed ({type(error).__name__})."
