"""What the pages show of the store's models: champions, candidates, histories."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from components.candidates import Candidate
from components.promotions import RELEASE, Promotion
from pipelines.dashboard.reader import Entry, Reader

MODELS_A_PAGE, CANDIDATES_A_PAGE, EVENTS_A_PAGE = 24, 25, 50
EVENTS_ON_THE_MODEL = 5
TREND_POINTS = 60

Item = TypeVar("Item")
Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class Unreadable:
    """An object that is not what its place says; the page shows the rest."""

    uri: str


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some of a long list, counted from 1."""

    items: list[Item]
    number: int
    pages: int
    total: int


@dataclass(frozen=True)
class Champion:
    """The newest event of a model's log and its version's metrics on its own test rows."""

    event: Promotion
    since: str
    """When its version became champion: pins of it make it no younger."""
    metrics: dict[str, Any]
    labels: list[str]


@dataclass(frozen=True)
class Model:
    """One model, as far as the overview shows it."""

    name: str
    champion: Champion | None
    candidates: int
    trend: list[Candidate]
    """The newest candidates, oldest first."""


def models(reader: Reader, number: int) -> Page[Model]:
    """A page of the store's models by name."""
    page = _page(reader.folders("models"), number, MODELS_A_PAGE)
    with ThreadPoolExecutor(8) as pool:  # each waits for the store
        found = list(pool.map(lambda name: model(reader, name), page.items))
    return Page([each for each in found if each is not None], page.number, page.pages, page.total)


def model(reader: Reader, name: str) -> Model | None:
    """A model, or None when the store has nothing under the name."""
    events = _numbered(reader, f"models/{name}/promotions")
    runs = _runs(reader, name)
    if not events and not runs:
        return None
    readable = (each for each in _read(reader, runs[:TREND_POINTS], Candidate))
    trend = [each for each in readable if isinstance(each, Candidate)]
    return Model(name, _champion(reader, name, events), len(runs), trend[::-1])


def candidates(reader: Reader, name: str, number: int) -> Page[Candidate | Unreadable]:
    """A page of a model's candidates, newest first."""
    page = _page(_runs(reader, name), number, CANDIDATES_A_PAGE)
    found = _read(reader, page.items, Candidate)
    return Page(found, page.number, page.pages, page.total)


def history(
    reader: Reader, name: str, number: int, size: int = EVENTS_A_PAGE
) -> Page[Promotion | Unreadable]:
    """A page of a model's promotion log, newest first."""
    page = _page(_numbered(reader, f"models/{name}/promotions")[::-1], number, size)
    return Page(_read(reader, page.items, Promotion), page.number, page.pages, page.total)


def rollout_url(reader: Reader, name: str) -> str | None:
    """Where the newest rollout that ended said that the champion answers."""
    rollouts = _numbered(reader, f"models/{name}/rollouts")
    if not rollouts:
        return None
    document = _read(reader, rollouts[-1:], _Rollout)[0]
    return document.url if isinstance(document, _Rollout) else None


class _Rollout(BaseModel):
    url: str


class _Release(BaseModel):
    labels: list[str]
    metrics: dict[str, Any]


def _champion(reader: Reader, name: str, events: list[Entry]) -> Champion | None:
    if not events:
        return None
    event = _read(reader, events[-1:], Promotion)[0]
    if isinstance(event, Unreadable):
        return None
    content = reader.unchanging(f"models/{name}/{event.version}/{RELEASE}")
    release = _parsed(content, _Release)
    since = _since(reader, events, event)
    if release is None:
        return Champion(event, since, {}, [])
    return Champion(event, since, release.metrics, release.labels)


def _since(reader: Reader, events: list[Entry], newest: Promotion) -> str:
    since = newest.at
    for entry in reversed(events[:-1]):
        [event] = _read(reader, [entry], Promotion)
        if isinstance(event, Unreadable) or event.version != newest.version:
            break
        since = event.at
    return since


def _numbered(reader: Reader, path: str) -> list[Entry]:
    """The objects of an append-only log in the order of their numbers."""
    entries = [e for e in reader.entries(path) if re.fullmatch(r"\d{6}\.json", e.name)]
    return sorted(entries, key=lambda entry: entry.name)


def _runs(reader: Reader, name: str) -> list[Entry]:
    """A model's candidates, newest first."""
    entries = reader.entries(f"models/{name}/candidates")
    return [entry for entry in reversed(entries) if entry.name.endswith(".json")]


def _read(
    reader: Reader, entries: Sequence[Entry], kind: type[Document]
) -> list[Document | Unreadable]:
    contents = reader.contents(entries)
    return [
        _parsed(content, kind) or Unreadable(entry.uri)
        for entry, content in zip(entries, contents, strict=True)
    ]


def _parsed(content: bytes | None, kind: type[Document]) -> Document | None:
    try:
        return kind.model_validate_json(content or b"")
    except ValidationError:
        return None


def _page(items: list[Item], number: int, size: int) -> Page[Item]:
    pages = max(-(-len(items) // size), 1)
    number = min(max(number, 1), pages)
    return Page(items[(number - 1) * size : number * size], number, pages, len(items))
