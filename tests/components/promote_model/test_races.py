"""Promotions and rollbacks at the same time, on a real S3 server."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components import promotions
from components.promote_model import promotion, rollout
from components.promote_model.interventions import rollback
from components.promote_model.promotion import RolledBackError, promote
from components.promote_model.settings import Canary, KServeTarget, PromotionSettings
from components.promotions import Promotion
from serving.errors import InputError
from tests.components.promote_model.candidates import judged
from tests.components.promote_model.cluster import running, version_of

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


CANARY = PromotionSettings(
    target=KServeTarget(
        namespace="team",
        service="hotels",
        seconds=30,
        canary=Canary(steps=(50, 100), pause=0, rows=2, p99_ms=10_000),
    )
)


def test_a_candidate_that_fails_leaves_a_champion_that_came_meanwhile(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running("Standard") as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path / "kubeconfig")))

        def then_r3_is_promoted(*given: Any) -> tuple[Promotion, str]:
            try:
                return rollout.roll_out(*given)
            except InputError:
                monkeypatch.setattr(promotion, "roll_out", rollout.roll_out)
                judged(store, "r3")
                promote(store, "m", "r3", CANARY)
                raise

        judged(store, "r1")
        promote(store, "m", "r1", CANARY)
        cluster.behaviours[judged(store, "r2")] = "wrong"
        monkeypatch.setattr(promotion, "roll_out", then_r3_is_promoted)
        with pytest.raises(InputError, match="Nothing was rolled back") as refused:
            promote(store, "m", "r2", CANARY)
        events = promotions.history(store, "m")
        assert [event.run for event in events] == ["r1", "r2", "r3"]
        assert not isinstance(refused.value, RolledBackError)
        assert f"{events[-1].version} became the champion of m meanwhile" in str(refused.value)
        third = promotions.release_uri(store, "m", events[-1].version)
        assert cluster.traffic == [(f"{third}/", 100)]


def test_a_newer_champion_that_fails_is_left_to_whoever_promoted_it(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def r3_is_promoted(uri: str) -> None:
        if version_of(uri) == second and len(promotions.history(store, "m")) == 2:
            cluster.behaviours[judged(store, "r3")] = "wrong"
            promote(store, "m", "r3", LOG_ONLY)

    second = ""
    with running("Standard", r3_is_promoted) as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path / "kubeconfig")))
        judged(store, "r1")
        promote(store, "m", "r1", CANARY)
        second = judged(store, "r2")
        with pytest.raises(InputError, match=r"became the champion.*that failed at the target"):
            promote(store, "m", "r2", CANARY)
        assert [event.run for event in promotions.history(store, "m")] == ["r1", "r2", "r3"]
