"""The store as Prometheus sees it: runs, verdicts, champions. Reads only."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from components import folders, promotions, storage
from components.transfers import side_by_side
from serving.errors import InputError

DECISIONS = ("accepted", "rejected", "unchanged", "waiting")
HEADLINE = ("accuracy", "macro_f1", "mae")
RECENT = timedelta(days=30)
OLDER_VERDICTS = 256
"""Verdicts from before that are read at a time, for models that have not run since."""
KEPT = 1024
"""Releases and evaluations that stay in memory; they never change."""


class _Run(NamedTuple):
    written: datetime
    verdict: dict[str, Any]


class StoreCollector(Collector):
    """Gauges by model from the store at `store`, which is read anew after `seconds`.

    A store that cannot be read is told as `finegate_store_up` 0, and nothing else.
    """

    def __init__(self, store: str, seconds: float = 30) -> None:
        self._store = store
        self._seconds = seconds
        self._lock = threading.Lock()
        self._read = -seconds
        self._families: list[GaugeMetricFamily] = []
        self._runs: dict[str, _Run] = {}
        self._document: Callable[[str], Any] = lru_cache(KEPT)(storage.read_json)

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing: registering it must not read the store."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What the store tells now, or did at most `seconds` ago."""
        with self._lock:
            if time.monotonic() - self._read >= self._seconds:
                try:
                    families, up = self._collected(), 1
                except InputError:
                    families, up = [], 0
                told = GaugeMetricFamily("finegate_store_up", "Whether the store could be read.")
                told.add_metric([], up)
                self._families, self._read = [*families, told], time.monotonic()
            found = self._families
        yield from found

    def _collected(self) -> list[GaugeMetricFamily]:
        self._read_verdicts()
        models = [n for n in storage.list_folders(f"{self._store}/models") if _is_a_name(n)]
        return [*self._of_runs(), *self._of_champions(models)]

    def _read_verdicts(self) -> None:
        """Read the verdicts that are new or were written again: the recent ones, then older."""
        written = {
            key.removesuffix("/verdict.json"): at
            for key, at in storage.list_written(f"{self._store}/runs").items()
            if key.endswith("/verdict.json")
        }
        self._runs = {run: known for run, known in self._runs.items() if run in written}
        unread = [
            (run, at)
            for run, at in sorted(written.items(), key=lambda item: item[1], reverse=True)
            if run not in self._runs or self._runs[run].written != at
        ]
        since = datetime.now(UTC) - RECENT
        recent = sum(at >= since for _, at in unread)

        def read(run: str, at: datetime) -> None:
            verdict = storage.read_json(f"{self._store}/runs/{run}/verdict.json")
            if verdict is not None:
                self._runs[run] = _Run(at, verdict)

        side_by_side(read, unread[: recent + OLDER_VERDICTS])

    def _of_runs(self) -> Iterator[GaugeMetricFamily]:
        newest: dict[str, _Run] = {}
        counts: Counter[tuple[str, str]] = Counter()
        since = datetime.now(UTC) - RECENT
        # Listings tell whole seconds; a local run's id goes on from there.
        for _, run in sorted(self._runs.items(), key=lambda item: (item[1].written, item[0])):
            name = run.verdict["name"]
            newest[name] = run
            counts[name, run.verdict["decision"]] += run.written >= since
        at = GaugeMetricFamily(
            "finegate_last_run_timestamp_seconds",
            "When the newest run came to a verdict.",
            labels=["model"],
        )
        last = GaugeMetricFamily(
            "finegate_last_run_decision",
            "1 for the newest run's decision, 0 for others.",
            labels=["model", "decision"],
        )
        recent = GaugeMetricFamily(
            "finegate_recent_runs",
            "Runs that came to a verdict in the last 30 days.",
            labels=["model", "decision"],
        )
        metric = _metric_family("finegate_candidate_metric", "Of the newest candidate")
        for name, run in newest.items():
            at.add_metric([name], run.written.timestamp())
            for decision in DECISIONS:
                last.add_metric([name, decision], run.verdict["decision"] == decision)
                recent.add_metric([name, decision], counts[name, decision])
            evaluation = self._document(f"{run.verdict['evaluation']}/{folders.MANIFEST}")
            if evaluation is not None:
                _add(metric, name, run.verdict["candidate"], evaluation["metrics"])
        yield from (at, last, recent, metric)

    def _of_champions(self, models: list[str]) -> Iterator[GaugeMetricFamily]:
        info = GaugeMetricFamily(
            "finegate_champion_info",
            "The champion, and the event that made it one.",
            labels=["model", "version", "action"],
        )
        since = GaugeMetricFamily(
            "finegate_champion_timestamp_seconds",
            "When the promotion log's newest event was written.",
            labels=["model"],
        )
        number = GaugeMetricFamily(
            "finegate_promotions", "Events in the promotion log.", labels=["model"]
        )
        rolled_out = GaugeMetricFamily(
            "finegate_champion_rolled_out",
            "Whether the rollout of the newest event has ended.",
            labels=["model"],
        )
        metric = _metric_family("finegate_champion_metric", "Of the champion")
        for name in models:
            champion = promotions.champion(self._store, name)
            if champion is None:
                continue
            info.add_metric([name, champion.version, champion.action], 1)
            since.add_metric([name], datetime.fromisoformat(champion.at).timestamp())
            number.add_metric([name], champion.number)
            # Nothing is rolled out when promotions are only let in again.
            done = champion.action == "unpin" or promotions.answers(self._store, name, champion)
            rolled_out.add_metric([name], done)
            uri = promotions.release_uri(self._store, name, champion.version)
            release = self._document(f"{uri}/{promotions.RELEASE}")
            if release is not None:
                _add(metric, name, champion.version, release["metrics"])
        yield from (info, since, number, rolled_out, metric)


def _is_a_name(name: str) -> bool:
    try:
        promotions.model_uri("", name)
    except InputError:
        return False
    return True


def _metric_family(name: str, of: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(
        name,
        f"{of}, on the test rows of its run: {', '.join(HEADLINE)}.",
        labels=["model", "version", "metric"],
    )


def _add(
    family: GaugeMetricFamily, model: str, version: str, metrics: dict[str, float | None]
) -> None:
    for key in HEADLINE:
        value = metrics.get(key)
        if value is not None:
            family.add_metric([model, version, key], value)
