"""The store as Prometheus sees it: runs, verdicts, champions, by the same reader as the pages."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import get_args

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from components.candidates import Candidate, Decision
from pipelines.dashboard import models
from pipelines.dashboard.reader import Reader
from serving.errors import InputError

HEADLINE = ("accuracy", "macro_f1", "mae")
RECENT = timedelta(days=30)


class StoreCollector(Collector):
    """Gauges by model. A store that cannot be read is told as `finegate_store_up` 0, alone."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing: registering it must not read the store."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What the store tells now."""
        found = _Found()
        try:
            for name in self._reader.folders("models"):
                model = models.model(self._reader, name)
                if model is not None:
                    self._of_runs(found, model)
                    self._of_champion(found, model)
        except InputError:
            found, up = _Found(), 0
        else:
            up = 1
        told = GaugeMetricFamily("finegate_store_up", "Whether the store could be read.")
        told.add_metric([], up)
        yield from (*found.families(), told)

    def _of_runs(self, found: "_Found", model: models.Model) -> None:
        if not model.trend:
            return
        newest = model.trend[-1]
        decided = Counter(each.decision for each in self._recent(model.name))
        found.last_run.add_metric([model.name], _timestamp(newest.at))
        for decision in get_args(Decision):
            found.decision.add_metric([model.name, decision], newest.decision == decision)
            found.recent.add_metric([model.name, decision], decided[decision])
        for metric in HEADLINE:
            if (value := newest.metrics.get(metric)) is not None:
                found.candidate.add_metric([model.name, newest.version, metric], value)

    def _recent(self, name: str) -> Iterator[Candidate]:
        since = (datetime.now(UTC) - RECENT).isoformat()
        for number in count(1):
            page = models.candidates(self._reader, name, number)
            for each in page.items:
                if isinstance(each, Candidate):
                    if each.at < since:
                        return
                    yield each
            if number >= page.pages:
                return

    def _of_champion(self, found: "_Found", model: models.Model) -> None:
        if model.champion is None:
            return
        name, event = model.name, model.champion.event
        found.champion.add_metric([name, event.version, event.action], 1)
        found.since.add_metric([name], _timestamp(model.champion.since))
        found.promotions.add_metric([name], event.number)
        ended = {entry.name for entry in self._reader.entries(f"models/{name}/rollouts")}
        done = not event.rolls_out or f"{event.number:06d}.json" in ended
        found.rolled_out.add_metric([name], done)
        for metric in HEADLINE:
            if (value := model.champion.metrics.get(metric)) is not None:
                found.metric.add_metric([name, event.version, metric], value)


class _Found:
    """The gauges of one scrape."""

    def __init__(self) -> None:
        of_a_version = ["model", "version", "metric"]
        which = f"on the test rows of its run: {', '.join(HEADLINE)}."
        self.last_run = GaugeMetricFamily(
            "finegate_last_run_timestamp_seconds",
            "When the newest run came to a verdict.",
            labels=["model"],
        )
        self.decision = GaugeMetricFamily(
            "finegate_last_run_decision",
            "1 for the newest run's decision, 0 for others.",
            labels=["model", "decision"],
        )
        self.recent = GaugeMetricFamily(
            "finegate_recent_runs",
            "Runs that came to a verdict in the last 30 days.",
            labels=["model", "decision"],
        )
        self.candidate = GaugeMetricFamily(
            "finegate_candidate_metric", f"Of the newest candidate, {which}", labels=of_a_version
        )
        self.champion = GaugeMetricFamily(
            "finegate_champion_info",
            "The champion, and the event that made it one.",
            labels=["model", "version", "action"],
        )
        self.since = GaugeMetricFamily(
            "finegate_champion_timestamp_seconds",
            "When the champion's version became champion.",
            labels=["model"],
        )
        self.promotions = GaugeMetricFamily(
            "finegate_promotions", "Events in the promotion log.", labels=["model"]
        )
        self.rolled_out = GaugeMetricFamily(
            "finegate_champion_rolled_out",
            "Whether the rollout of the newest event has ended.",
            labels=["model"],
        )
        self.metric = GaugeMetricFamily(
            "finegate_champion_metric", f"Of the champion, {which}", labels=of_a_version
        )

    def families(self) -> Iterator[GaugeMetricFamily]:
        """All of them."""
        yield from vars(self).values()


def _timestamp(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
