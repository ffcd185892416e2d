"""The store as Prometheus sees it."""

import os
import time
from collections import Counter
from typing import Any

import pytest
from botocore.config import Config
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from components import promotions, storage
from components.promote_model.interventions import pin, rollback, unpin
from components.promote_model.promotion import promote
from components.promote_model.settings import PromotionSettings
from pipelines.dashboard import reader
from pipelines.dashboard.exporter import StoreCollector
from pipelines.dashboard.reader import Reader
from tests.components.promote_model.candidates import judged

SETTINGS = PromotionSettings()


class Exporter:
    """A registry with the collector, as a scrape reads it, with its requests to S3 counted."""

    def __init__(self, store: str) -> None:
        self.requests: Counter[str] = Counter()
        self.secret = os.environ["AWS_SECRET_ACCESS_KEY"]
        self._registry = CollectorRegistry()
        self._registry.register(StoreCollector(Reader(store, self._connect)))

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        text = generate_latest(self._registry).decode()
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        ]

    def one(self, name: str) -> float:
        [(_, value)] = self.samples(name)
        return value

    def _connect(self) -> Any:
        client = storage.connect({**os.environ, "AWS_SECRET_ACCESS_KEY": self.secret}, Config())
        client.meta.events.register("before-call.s3", self._count)
        return client

    def _count(self, model: Any, **_: Any) -> None:
        self.requests[model.name] += 1


@pytest.fixture
def exporter(store: str, monkeypatch: pytest.MonkeyPatch) -> Exporter:
    """One that sees at once what is new."""
    monkeypatch.setattr(reader, "LISTING_SECONDS", 0)
    return Exporter(store)


def test_it_follows_runs_and_the_promotion_log(store: str, exporter: Exporter) -> None:
    assert exporter.one("finegate_store_up") == 1
    assert exporter.samples("finegate_champion_info") == []
    first = judged(store, "1")
    promote(store, "m", "1", SETTINGS)
    second = judged(store, "2")
    promote(store, "m", "2", SETTINGS)
    judged(store, "3", decision="rejected")
    assert time.time() - exporter.one("finegate_last_run_timestamp_seconds") < 60
    decided = {labels["decision"]: v for labels, v in exporter.samples("finegate_recent_runs")}
    assert decided == {"accepted": 2, "rejected": 1, "unchanged": 0, "waiting": 0}
    last = {labels["decision"]: v for labels, v in exporter.samples("finegate_last_run_decision")}
    assert last == {"accepted": 0, "rejected": 1, "unchanged": 0, "waiting": 0}
    [(labels, value)] = exporter.samples("finegate_champion_metric")
    assert (labels["version"], labels["metric"], value) == (second, "accuracy", 1.0)
    assert exporter.samples("finegate_candidate_metric")[0][0]["version"].startswith("3")
    rollback(store, "m", SETTINGS)
    assert exporter.samples("finegate_champion_info") == [
        ({"model": "m", "version": first, "action": "rollback"}, 1)
    ]
    assert exporter.one("finegate_promotions") == 3
    assert time.time() - exporter.one("finegate_champion_timestamp_seconds") < 60


def test_a_rollout_that_has_not_ended_is_told(store: str, exporter: Exporter) -> None:
    judged(store, "1")
    promote(store, "m", "1", SETTINGS)
    assert exporter.one("finegate_champion_rolled_out") == 1
    champion = promotions.champion(store, "m")
    assert champion is not None
    promotions.append(
        store, "m", champion, action="rollback", version=champion.version, run="", reason="killed"
    )
    assert exporter.one("finegate_champion_rolled_out") == 0
    pin(store, "m", SETTINGS, None, "held")
    unpin(store, "m")
    assert exporter.one("finegate_champion_rolled_out") == 1


def test_a_scrape_writes_nothing_and_reads_again_what_may_have_changed_alone(
    store: str, exporter: Exporter
) -> None:
    for run in range(1, 6):
        judged(store, str(run))
    promote(store, "m", "5", SETTINGS)
    assert exporter.requests == {}  # registering reads nothing
    exporter.one("finegate_promotions")
    assert set(exporter.requests) == {"ListObjectsV2", "GetObject"}
    exporter.requests.clear()
    exporter.one("finegate_promotions")
    assert set(exporter.requests) == {"ListObjectsV2"}


def test_a_store_that_cannot_be_read_is_told_and_comes_back(store: str, exporter: Exporter) -> None:
    judged(store, "1")
    right, exporter.secret = exporter.secret, "wrong"
    assert exporter.one("finegate_store_up") == 0
    assert exporter.samples("finegate_last_run_decision") == []
    exporter.secret = right
    assert exporter.one("finegate_store_up") == 1
    assert len(exporter.samples("finegate_last_run_decision")) == 4


def test_what_is_no_document_of_ours_leaves_the_rest(store: str, exporter: Exporter) -> None:
    judged(store, "1")
    storage.write_json(f"{store}/models/A_B/promotions/000001.json", {"no": "event"})
    storage.write_json(f"{store}/models/m/candidates/zzz.json", {"no": "candidate"})
    assert exporter.one("finegate_store_up") == 1
    assert [labels["model"] for labels, _ in exporter.samples("finegate_candidate_metric")] == ["m"]
