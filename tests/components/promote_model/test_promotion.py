"""Release, log and rollout on real S3; the local endpoint itself is tested with the whole loop."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components import folders, promotions, storage
from components.evaluate_model.evaluation import evaluate
from components.promote_model.interventions import rollback
from components.promote_model.promotion import promote
from components.promote_model.rollout import roll_out
from components.promote_model.settings import PromotionSettings
from serving.errors import InputError
from tests.components.promote_model.candidates import judged

LOG_ONLY = PromotionSettings()


def test_a_release_is_the_model_without_the_training_log(store: str, tmp_path: Path) -> None:
    version = judged(store, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    release = promotions.release(store, "m", version)
    assert release is not None
    files = {entry["path"]: entry for entry in release["files"]}
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert release["lineage"]["verdict"]["decision"] == "accepted"
    assert release["lineage"]["dataset"] == "d"
    folders.fetch(promotions.release_uri(store, "m", version), tmp_path / "back", release)
    assert (tmp_path / "back" / "config.json").read_text() == "config.json of r1"
    card = (tmp_path / "back" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["pipeline_tag"] == "text-classification"
    assert "| accuracy | 1.0000 |" in card


def test_promoting_again_changes_nothing(store: str) -> None:
    judged(store, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    before = {key: storage.read_bytes(f"{store}/{key}") for key in storage.list_keys(store)}
    promote(store, "m", "r1", LOG_ONLY)
    assert {key: storage.read_bytes(f"{store}/{key}") for key in storage.list_keys(store)} == before


def test_what_the_gate_rejected_or_never_saw_is_not_promoted(store: str) -> None:
    judged(store, "r1", decision="rejected")
    for run, says in (("r1", "a rejecting verdict"), ("r2", "no verdict")):
        with pytest.raises(InputError, match=says):
            promote(store, "m", run, LOG_ONLY)
    assert promotions.champion(store, "m") is None


def test_a_verdict_against_an_older_champion_promotes_nothing(store: str) -> None:
    judged(store, "r1")
    judged(store, "r2")
    promote(store, "m", "r1", LOG_ONLY)
    with pytest.raises(InputError, match="changed since the gate of run r2 judged"):
        promote(store, "m", "r2", LOG_ONLY)
    assert len(promotions.history(store, "m")) == 1


def test_a_champion_whose_release_was_deleted_is_told_with_the_way_on(store: str) -> None:
    kept = judged(store, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    gone = judged(store, "r2")
    promote(store, "m", "r2", LOG_ONLY)
    storage.delete([f"{promotions.release_uri(store, 'm', gone)}/{promotions.RELEASE}"])
    with pytest.raises(InputError, match=f"{gone}.*was deleted.*finegate rollback m --to"):
        roll_out(store, "m", LOG_ONLY)
    with pytest.raises(InputError, match="was deleted"):
        evaluate(store, "", "", "m")
    rollback(store, "m", LOG_ONLY, to=kept)
    assert roll_out(store, "m", LOG_ONLY)[0].version == kept


def test_a_rollback_brings_back_the_version_before(store: str) -> None:
    first = judged(store, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    with pytest.raises(InputError, match="no earlier champion"):
        rollback(store, "m", LOG_ONLY)
    second = judged(store, "r2")
    promote(store, "m", "r2", LOG_ONLY)
    assert rollback(store, "m", LOG_ONLY).version == first
    assert rollback(store, "m", LOG_ONLY, to=second).version == second
    with pytest.raises(InputError, match="has no release nothing"):
        rollback(store, "m", LOG_ONLY, to="nothing")
    with pytest.raises(InputError, match="is the champion of m already"):
        rollback(store, "m", LOG_ONLY, to=second)
    actions = [event.action for event in promotions.history(store, "m")]
    assert actions == ["promote", "promote", "rollback", "rollback"]


def test_a_promotion_writes_under_its_models_name_and_nowhere_else(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a policy for the step must grant, and no more."""
    judged(store, "r1")
    read, written = set(), set()
    client = storage.client()
    call = client._make_api_call  # type: ignore[attr-defined]  # boto makes it at run time
    prefix = storage.split(store)[1]

    def recorded(operation: str, given: dict[str, Any]) -> Any:
        key = given.get("Key", given.get("Prefix", "")).removeprefix(f"{prefix}/")
        changes = operation in ("PutObject", "CopyObject", "DeleteObject")
        (written if changes else read).add(key)
        if operation == "CopyObject":
            read.add(given["CopySource"]["Key"].removeprefix(f"{prefix}/"))
        return call(operation, given)

    monkeypatch.setattr(client, "_make_api_call", recorded)
    promote(store, "m", "r1", LOG_ONLY)
    assert len(written) == 6
    assert all(key.startswith("models/m/") for key in written)
    assert {key.split("/")[0] for key in read} == {"runs", "exported", "evaluations", "models"}
