"""Promotions and rollbacks at the same time, on a real S3 server."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components import promotions
from components.promote_model.interventions import rollback
from components.promote_model.promotion import promote
from components.promote_model.settings import KServeTarget, PromotionSettings
from serving.errors import InputError
from tests.components.promote_model.candidates import judged
from tests.components.promote_model.cluster import running

LOG_ONLY = PromotionSettings()


def outcome(work: object) -> str:
    try:
        work()  # type: ignore[operator]  # parametrized
    except InputError as error:
        return str(error)
    return "done"


def test_of_fifty_promotions_judged_against_one_champion_one_wins(store: str) -> None:
    judged(store, "r0")
    promote(store, "m", "r0", LOG_ONLY)
    runs = [f"c{number:02d}" for number in range(50)]
    with ThreadPoolExecutor(16) as pool:
        versions = dict(zip(runs, pool.map(lambda run: judged(store, run), runs), strict=True))
    with ThreadPoolExecutor(50) as pool:
        ended = list(
            pool.map(lambda run: outcome(lambda: promote(store, "m", run, LOG_ONLY)), runs)
        )
    [winner] = [run for run, end in zip(runs, ended, strict=True) if end == "done"]
    assert all("Run again" in end for end in ended if end != "done")
    first, second = promotions.history(store, "m")
    assert (first.number, second.number) == (1, 2)
    assert (second.run, second.version) == (winner, versions[winner])


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_a_promotion_racing_a_rollback_leaves_the_cluster_at_the_last_event(
    mode: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PromotionSettings(
        target=KServeTarget(namespace="team", service="hotels", seconds=30)
    )
    with running(mode) as cluster, ThreadPoolExecutor(2) as pool:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path / "kubeconfig")))
        for run in ("a0", "a1"):
            judged(store, run)
            promote(store, "m", run, settings)
        for number in range(8):
            run = f"b{number}"
            judged(store, run)
            before = len(promotions.history(store, "m"))
            promoting = pool.submit(outcome, lambda run=run: promote(store, "m", run, settings))
            rolling = pool.submit(outcome, lambda: rollback(store, "m", settings))
            ends = [promoting.result(), rolling.result()]
            events = promotions.history(store, "m")
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            assert before < len(events) <= before + 2
            assert "done" in ends or "became the champion" in ends[0]
            champion = promotions.release_uri(store, "m", events[-1].version)
            assert cluster.serving == f"{champion}/"
            assert cluster.traffic == [(f"{champion}/", 100)]
