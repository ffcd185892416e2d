"""Release, log and rollout on real S3; the local endpoint itself is tested with the whole loop."""

from pathlib import Path
from typing import Any

import pytest

from components import folders, promotions, storage
from components.promote_model.promotion import promote, rollback
from components.promote_model.settings import KServeTarget, PromotionSettings
from components.promote_model.targets.kserve import patch, ready
from serving.errors import InputError

LOG_ONLY = PromotionSettings()


def judged(
    store: str, model: Path, run: str, decision: str = "accepted", fingerprint: str | None = None
) -> str:
    """A fine-tuned model with a verdict, as the gate writes it; returns its version."""
    fingerprint = fingerprint or f"{run:0<20}"
    facts: dict[str, Any] = {
        "fingerprint": fingerprint,
        "labels": ["a"],
        "max_length": 24,
        "dataset": "d",
        "tokenized": "t",
        "base_model": "b",
        "settings": {},
    }
    folders.publish(model, f"{store}/finetuned/{fingerprint}", facts)
    folders.publish(model, f"{store}/evaluations/e", {"metrics": {"accuracy": 1.0}})
    champion = promotions.champion(store, "m")
    verdict = {
        "decision": decision,
        "reason": "All checks passed.",
        "run": run,
        "candidate": fingerprint[:12],
        "model": f"{store}/finetuned/{fingerprint}",
        "evaluation": f"{store}/evaluations/e",
        "champion": champion and {"version": champion.version, "number": champion.number},
        "checks": [],
    }
    storage.write_json(f"{store}/runs/{run}/verdict.json", verdict)
    return fingerprint[:12]


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "training.jsonl"):
        (folder / name).write_text(name)
    return folder


def test_a_release_is_the_model_without_the_training_log(
    store: str, small_model: Path, tmp_path: Path
) -> None:
    version = judged(store, small_model, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    release = promotions.release(store, "m", version)
    assert release is not None
    assert {entry["path"] for entry in release["files"]} == {"config.json", "model.safetensors"}
    assert release["lineage"]["dataset"] == "d"
    folders.fetch(promotions.release_uri(store, "m", version), tmp_path / "back", release)
    assert (tmp_path / "back" / "config.json").read_text() == "config.json"


def test_promoting_again_changes_nothing(store: str, small_model: Path) -> None:
    judged(store, small_model, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    before = {key: storage.read_bytes(f"{store}/{key}") for key in storage.list_keys(store)}
    promote(store, "m", "r1", LOG_ONLY)
    assert {key: storage.read_bytes(f"{store}/{key}") for key in storage.list_keys(store)} == before


def test_what_the_gate_rejected_or_never_saw_is_not_promoted(store: str, small_model: Path) -> None:
    judged(store, small_model, "r1", decision="rejected")
    for run, says in (("r1", "a rejecting verdict"), ("r2", "no verdict")):
        with pytest.raises(InputError, match=says):
            promote(store, "m", run, LOG_ONLY)
    assert promotions.champion(store, "m") is None


def test_a_verdict_against_an_older_champion_promotes_nothing(
    store: str, small_model: Path
) -> None:
    judged(store, small_model, "r1")
    judged(store, small_model, "r2")
    promote(store, "m", "r1", LOG_ONLY)
    with pytest.raises(InputError, match="changed since the gate of run r2 judged"):
        promote(store, "m", "r2", LOG_ONLY)
    assert len(promotions.history(store, "m")) == 1


class KilledError(Exception):
    """Stands for SIGKILL between two requests."""


def test_a_promotion_killed_after_any_request_ends_the_same_when_run_again(
    s3: dict[str, str], store: str, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill after request 1, 2, ... until a promotion gets through in one go."""
    client = storage.client()
    real = client._make_api_call  # type: ignore[attr-defined]
    points = 0
    for kill_after in range(1, 200):
        place = f"{store}/{kill_after}"
        version = judged(place, small_model, "r1")
        left = [kill_after]

        def counted(*args: Any, left: list[int] = left, **kwargs: Any) -> Any:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return real(*args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(client, "_make_api_call", counted)
            try:
                promote(place, "m", "r1", LOG_ONLY)
                killed = False
            except KilledError:
                killed = True
        champion = promotions.champion(place, "m")
        if champion is not None:
            assert promotions.release(place, "m", champion.version) is not None
        promote(place, "m", "r1", LOG_ONLY)
        assert [event.version for event in promotions.history(place, "m")] == [version]
        release = promotions.release(place, "m", version)
        assert release is not None
        assert len(release["files"]) == 2
        if not killed:
            break
        points += 1
    assert points > 8


def test_a_rollback_brings_back_the_version_before(store: str, small_model: Path) -> None:
    first = judged(store, small_model, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    with pytest.raises(InputError, match="no earlier champion"):
        rollback(store, "m", LOG_ONLY)
    second = judged(store, small_model, "r2")
    promote(store, "m", "r2", LOG_ONLY)
    assert rollback(store, "m", LOG_ONLY).version == first
    assert rollback(store, "m", LOG_ONLY, to=second).version == second
    with pytest.raises(InputError, match="has no release nothing"):
        rollback(store, "m", LOG_ONLY, to="nothing")
    with pytest.raises(InputError, match="is the champion of m already"):
        rollback(store, "m", LOG_ONLY, to=second)
    actions = [event.action for event in promotions.history(store, "m")]
    assert actions == ["promote", "promote", "rollback", "rollback"]


def test_the_kserve_patch_claims_the_model_address_alone() -> None:
    target = KServeTarget(namespace="team", service="hotels")
    body = patch(target, "s3://b/models/m/v1")
    assert body["spec"] == {"predictor": {"model": {"storageUri": "s3://b/models/m/v1/"}}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"observedGeneration": 3, "conditions": [{"type": "Ready", "status": "True"}]}, True),
        ({"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}]}, False),
        ({"observedGeneration": 3, "conditions": [{"type": "Ready", "status": "False"}]}, False),
        ({}, False),
    ],
)
def test_ready_means_ready_for_the_generation_that_was_applied(
    status: dict[str, Any], expected: bool
) -> None:
    assert ready(status, 3) is expected
