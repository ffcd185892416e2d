"""What the dashboard asks of the store, counted."""

from collections import Counter
from typing import Any

import pytest
from botocore.config import Config

from components import storage
from pipelines.dashboard import models
from pipelines.dashboard.models import Unreadable
from pipelines.dashboard.reader import Reader, _Recent
from pipelines.dashboard.trend import trend
from tests.pipelines.dashboard import many_runs


class Counted:
    """A reader whose requests are counted by operation."""

    def __init__(self, store: str) -> None:
        self.requests: Counter[str] = Counter()
        self.reader = Reader(store, self._connect)

    def _connect(self) -> Any:
        client = storage.connect({}, Config())
        client.meta.events.register("before-call.s3", self._count)
        return client

    def _count(self, model: Any, **rest: Any) -> None:
        self.requests[model.name] += 1


@pytest.fixture
def counted(store: str) -> Counted:
    many_runs.fill(store, 130, models=("hotels",))
    return Counted(store)


def test_only_the_shown_page_is_read_and_only_once(counted: Counted) -> None:
    page = models.candidates(counted.reader, "hotels", 3)
    assert (page.total, page.pages, len(page.items)) == (130, 6, 25)
    assert counted.requests == {"ListObjectsV2": 1, "GetObject": 25}
    models.candidates(counted.reader, "hotels", 3)
    assert counted.requests == {"ListObjectsV2": 1, "GetObject": 25}


def test_every_page_only_lists_and_gets(counted: Counted) -> None:
    models.models(counted.reader, 1)
    models.history(counted.reader, "hotels", 1)
    models.rollout_url(counted.reader, "hotels")
    counted.reader.fresh("runs/none/report.html")
    assert set(counted.requests) == {"ListObjectsV2", "GetObject"}


def test_a_listing_is_renewed_and_reads_what_is_new_alone(
    counted: Counted, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = models.history(counted.reader, "hotels", 1)
    reads = counted.requests["GetObject"]
    many_runs.promote(store, "hotels", before.total + 1, "f" * 12, "", "the newest")
    monkeypatch.setattr("pipelines.dashboard.reader.LISTING_SECONDS", 0)
    after = models.history(counted.reader, "hotels", 1)
    assert after.total == before.total + 1
    assert after.items[0].reason == "the newest"  # type: ignore[union-attr]  # it is readable
    assert counted.requests["GetObject"] == reads + 1


def test_a_candidate_that_was_judged_again_shows_its_new_verdict(
    counted: Counted, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.dashboard.reader.LISTING_SECONDS", 0)
    newest = models.candidates(counted.reader, "hotels", 1).items[0]
    uri = f"{store}/models/hotels/candidates/{newest.run}.json"  # type: ignore[union-attr]  # there is one
    storage.write_json(uri, {**storage.read_json(uri), "decision": "waiting"})
    again = models.candidates(counted.reader, "hotels", 1).items[0]
    assert again.decision == "waiting"  # type: ignore[union-attr]  # as above


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(counted: Counted, store: str) -> None:
    broken = f"{store}/models/hotels/candidates/99999999-broken.json"
    storage.write_bytes(broken, b"{half", "application/json")
    items = models.candidates(counted.reader, "hotels", 1).items
    assert Unreadable(broken) in items
    assert sum(not isinstance(each, Unreadable) for each in items) == 24
    found = models.model(counted.reader, "hotels")
    assert found is not None
    assert found.candidates == 131


def test_the_kept_objects_stay_within_their_bound() -> None:
    kept = _Recent(100)
    for number in range(50):
        kept.put((str(number), ""), b"x" * 10)
        kept.get(("0", ""))
    assert kept.get(("0", "")) is not None  # used all the time
    assert sum(kept.get((str(number), "")) is not None for number in range(50)) == 10
    kept.put(("large", ""), b"x" * 101)
    assert kept.get(("large", "")) is None


def test_a_trend_draws_every_candidate_within_its_chart(counted: Counted) -> None:
    found = models.model(counted.reader, "hotels")
    assert found is not None
    chart = trend(found.trend)
    assert chart is not None
    assert len(chart.points) == 60
    assert all(chart.left <= p.x <= chart.right and 0 <= p.y <= chart.bottom for p in chart.points)
    values = [float(tick.text) for tick in chart.ticks]
    assert values == sorted(values)
    assert all(values[0] <= point.value <= values[-1] for point in chart.points)
    assert 3 <= len(chart.ticks) <= 6
    assert chart.champion.count("M") == 1  # one line: every one but the first met a champion
    one = trend(found.trend[:1])
    assert one is not None
    assert len(one.points) == 1
    assert trend([]) is None
