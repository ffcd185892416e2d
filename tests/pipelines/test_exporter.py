"""The store as Prometheus sees it."""

import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from components import promotions, storage
from components.promote_model.promotion import pin, promote, rollback, unpin
from components.promote_model.settings import PromotionSettings
from pipelines.exporter import StoreCollector
from tests.components.promote_model.candidates import judged

SETTINGS = PromotionSettings()


class Exporter:
    """A registry with the collector, as a scrape reads it."""

    def __init__(self, store: str, seconds: float) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(StoreCollector(store, seconds))

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


@pytest.fixture
def calls(s3: dict[str, str]) -> Iterator[list[str]]:
    """The S3 operations that are made."""
    made: list[str] = []

    def record(model: object, **_: object) -> None:
        made.append(str(getattr(model, "name", "")))

    events = storage.client().meta.events
    events.register("before-call.s3", record)
    yield made
    events.unregister("before-call.s3", record)


def test_it_follows_runs_and_the_promotion_log(store: str) -> None:
    exporter = Exporter(store, seconds=0)
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


def test_a_rollout_that_has_not_ended_is_told(store: str) -> None:
    exporter = Exporter(store, seconds=0)
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


def test_scrapes_within_the_time_read_nothing_and_no_scrape_writes(
    store: str, calls: list[str]
) -> None:
    for run in range(1, 6):
        judged(store, str(run))
    promote(store, "m", "5", SETTINGS)
    calls.clear()
    exporter = Exporter(store, seconds=3600)
    assert calls == []  # registering reads nothing
    exporter.one("finegate_promotions")
    assert set(calls) == {"ListObjectsV2", "GetObject"}
    calls.clear()
    exporter.one("finegate_promotions")
    assert calls == []
    again = Exporter(store, seconds=0)
    again.one("finegate_promotions")
    first = len(calls)
    calls.clear()
    again.one("finegate_promotions")
    assert len(calls) <= first - 5 - 2  # verdicts, release and evaluation are not read again


def test_a_store_that_cannot_be_read_is_told_and_comes_back(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = Exporter(store, seconds=0)
    judged(store, "1")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        storage.client.cache_clear()
        assert exporter.one("finegate_store_up") == 0
        assert exporter.samples("finegate_last_run_decision") == []
    storage.client.cache_clear()
    assert exporter.one("finegate_store_up") == 1
    assert len(exporter.samples("finegate_last_run_decision")) == 4


def test_names_with_quotes_and_line_breaks_stay_labels(store: str) -> None:
    verdict = {"decision": "rejected", "name": 'a"}\n1', "evaluation": f"{store}/none"}
    storage.write_json(f"{store}/runs/r/verdict.json", {**verdict, "candidate": "c"})
    storage.write_json(f"{store}/models/A_B/promotions/000001.json", {"no": "model"})
    exporter = Exporter(store, seconds=0)
    assert exporter.samples("finegate_last_run_timestamp_seconds")[0][0] == {"model": 'a"}\n1'}
