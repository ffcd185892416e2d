"""The schedule reconciler, through the real kfp.Client, against a contract fake of KFP's API."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from pipelines import cluster, schedule
from pipelines import compile as ir
from pipelines.cluster import Place
from serving.errors import InputError
from tests.pipelines.kfp_api import KfpApi, serving

CONFIG = {
    "name": "hotel-reviews",
    "store": "s3://team/finegate",
    "dataset": {"s3": "s3://team/reviews.csv"},
    "base_model": {"s3": "s3://team/rbt3/"},
    "promotion": {"target": {"kind": "kserve", "namespace": "team", "service": "hotel-reviews"}},
}
NIGHTLY = {"name": "nightly", "cron": "0 0 3 * * *", "config": "run.yaml"}
WEEKLY = {"name": "weekly", "cron": "0 0 4 * * 0", "config": "run.yaml", "enabled": False}


@pytest.fixture(autouse=True)
def _no_context_of_this_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import kfp

    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))


@pytest.fixture
def api() -> Iterator[KfpApi]:
    """A server whose pages hold two items."""
    with serving(KfpApi(page=2)) as served:
        yield served


def write(folder: Path, *schedules: dict[str, Any], **place: Any) -> Path:
    (folder / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    path = folder / "schedule.yaml"
    path.write_text(yaml.safe_dump({**place, "schedules": list(schedules)}))
    return path


def actions(changes: list[schedule.Change]) -> list[tuple[str, str]]:
    return [(change.action, change.name) for change in changes]


def test_the_first_apply_makes_each_schedule_with_all_that_a_run_needs(
    api: KfpApi, tmp_path: Path
) -> None:
    changes = schedule.apply(write(tmp_path, NIGHTLY, WEEKLY), host=api.url)
    assert actions(changes) == [("create", "nightly"), ("create", "weekly")]
    made = {run.display_name: run for run in api.recurring_runs.values()}
    nightly = made["nightly"]
    assert nightly.trigger.cron_schedule.cron == "0 0 3 * * *"
    assert nightly.mode == "ENABLE"
    assert made["weekly"].mode == "DISABLE"
    assert nightly.no_catchup is True
    assert nightly.max_concurrency == "1"
    assert nightly.service_account == "finegate-pipeline"
    assert nightly.runtime_config.parameters["store"] == "s3://team/finegate"
    assert nightly.runtime_config.parameters["dataset"] == {"s3": "s3://team/reviews.csv"}
    [version] = [v for v in api.versions.values() if v.display_name == ir.compiled()[1]]
    assert nightly.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert ir.compiled()[0] in api.packages[version.pipeline_version_id]


def test_applying_again_changes_nothing(api: KfpApi, tmp_path: Path) -> None:
    path = write(tmp_path, NIGHTLY, WEEKLY)
    schedule.apply(path, host=api.url)
    before = dict(api.recurring_runs)
    api.calls.clear()
    changes = schedule.apply(path, host=api.url)
    assert actions(changes) == [("keep", "nightly"), ("keep", "weekly")]
    assert api.changes() == []
    assert api.recurring_runs.keys() == before.keys()


@pytest.mark.parametrize(
    "change",
    [{"cron": "0 30 3 * * *"}, {"set": ["training.epochs=4"]}, {"max_concurrency": 2}],
)
def test_a_change_makes_the_new_one_before_it_removes_the_old_one(
    api: KfpApi, tmp_path: Path, change: dict[str, Any]
) -> None:
    schedule.apply(write(tmp_path, NIGHTLY), host=api.url)
    [old] = api.recurring_runs
    api.calls.clear()
    changes = schedule.apply(write(tmp_path, {**NIGHTLY, **change}), host=api.url)
    assert actions(changes) == [("create", "nightly"), ("delete", "nightly")]
    assert api.changes() == ["POST /recurringruns", f"DELETE /recurringruns/{old}"]
    [new] = api.recurring_runs
    assert new != old


def test_a_new_pipeline_is_a_change(
    api: KfpApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, NIGHTLY)
    schedule.apply(path, host=api.url)
    content, _ = ir.compiled()
    monkeypatch.setattr(ir, "compiled", lambda registry: (content + b"# new\n", "0123456789ab"))
    changes = schedule.apply(path, host=api.url)
    assert actions(changes) == [("create", "nightly"), ("delete", "nightly")]
    [run] = api.recurring_runs.values()
    version = api.versions[run.pipeline_version_reference.pipeline_version_id]
    assert version.display_name == "0123456789ab"
    assert len(api.pipelines) == 1


def test_a_dry_run_tells_the_plan_and_changes_nothing(api: KfpApi, tmp_path: Path) -> None:
    changes = schedule.apply(write(tmp_path, NIGHTLY), host=api.url, dry_run=True)
    assert actions(changes) == [("create", "nightly")]
    assert api.changes() == []
    assert not api.experiments


def test_duplicates_are_cleaned_up_and_the_oldest_stays(api: KfpApi, tmp_path: Path) -> None:
    path = write(tmp_path, NIGHTLY, WEEKLY)
    schedule.apply(path, host=api.url)
    [nightly] = [run for run in api.recurring_runs.values() if run.display_name == "nightly"]
    for number in range(5):  # more than two pages
        twin = api.read(api.answer(nightly), "V2beta1RecurringRun")
        twin.recurring_run_id, twin.created_at = f"twin-{number}", api.now()
        api.recurring_runs[twin.recurring_run_id] = twin
    changes = schedule.apply(path, host=api.url)
    assert [change.why for change in changes if change.action == "delete"] == ["a duplicate"] * 5
    assert nightly.recurring_run_id in api.recurring_runs
    assert len(api.recurring_runs) == 2


def test_a_crash_between_create_and_delete_is_mended_by_the_next_apply(
    api: KfpApi, tmp_path: Path
) -> None:
    schedule.apply(write(tmp_path, NIGHTLY), host=api.url)
    [old] = api.recurring_runs
    path = write(tmp_path, {**NIGHTLY, "cron": "0 30 3 * * *"})
    api.fail = lambda call: call.startswith("DELETE")
    with pytest.raises(InputError, match="refused to delete the schedule nightly: 500"):
        schedule.apply(path, host=api.url)
    assert len(api.recurring_runs) == 2
    api.fail = lambda call: False
    changes = schedule.apply(path, host=api.url)
    assert actions(changes) == [("keep", "nightly"), ("delete", "nightly")]
    [left] = api.recurring_runs.values()
    assert left.recurring_run_id != old
    assert left.trigger.cron_schedule.cron == "0 30 3 * * *"


def test_a_crash_before_the_create_leaves_the_old_one_running(api: KfpApi, tmp_path: Path) -> None:
    schedule.apply(write(tmp_path, NIGHTLY), host=api.url)
    before = set(api.recurring_runs)
    api.fail = lambda call: call == "POST /recurringruns"
    with pytest.raises(InputError, match="refused to create the schedule nightly"):
        schedule.apply(write(tmp_path, {**NIGHTLY, "cron": "0 30 3 * * *"}), host=api.url)
    assert set(api.recurring_runs) == before


def test_what_left_the_file_is_removed_and_others_runs_are_left_alone(
    api: KfpApi, tmp_path: Path
) -> None:
    schedule.apply(write(tmp_path, NIGHTLY, WEEKLY), host=api.url)
    [weekly] = [run for run in api.recurring_runs.values() if run.display_name == "weekly"]
    theirs = api.read(api.answer(weekly), "V2beta1RecurringRun")
    theirs.recurring_run_id, theirs.display_name = "theirs", "their own"
    theirs.description = "made by hand"
    api.recurring_runs["theirs"] = theirs
    changes = schedule.apply(write(tmp_path, NIGHTLY), host=api.url)
    assert actions(changes) == [("keep", "nightly"), ("delete", "weekly")]
    assert "theirs" in api.recurring_runs


def test_a_name_that_somebody_else_used_is_refused(api: KfpApi, tmp_path: Path) -> None:
    path = write(tmp_path, NIGHTLY)
    schedule.apply(path, host=api.url)
    [run] = api.recurring_runs.values()
    run.description = "made by hand"
    with pytest.raises(InputError, match="that finegate did not make"):
        schedule.apply(path, host=api.url)
    assert len(api.recurring_runs) == 1


def test_one_that_was_switched_off_by_hand_is_switched_on_again(
    api: KfpApi, tmp_path: Path
) -> None:
    path = write(tmp_path, NIGHTLY)
    schedule.apply(path, host=api.url)
    [run] = api.recurring_runs.values()
    run.mode = "DISABLE"
    assert actions(schedule.apply(path, host=api.url)) == [("enable", "nightly")]
    assert run.mode == "ENABLE"


def test_only_the_files_experiment_is_looked_at(api: KfpApi, tmp_path: Path) -> None:
    schedule.apply(write(tmp_path, NIGHTLY, experiment="a"), host=api.url)
    changes = schedule.apply(write(tmp_path, WEEKLY, experiment="b"), host=api.url)
    assert actions(changes) == [("create", "weekly")]
    assert len(api.recurring_runs) == 2
    assert len(api.experiments) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cron": "0 3 * * *"}, "six fields"),
        ({"every": "day"}, "unknown key schedules.0.every; known keys: catchup"),
        ({"config": "absent.yaml"}, "there is no file"),
        ({"set": ["store=null"]}, "needs store"),
        ({"set": ["dataset={path: reviews.csv}"]}, "a file of this machine"),
        ({"set": ["promotion.target={kind: local, state: here}"]}, "of kind local"),
    ],
)
def test_a_file_that_cannot_run_on_a_cluster_is_refused_before_anything_is_asked(
    api: KfpApi, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        schedule.apply(write(tmp_path, {**NIGHTLY, **given}), host=api.url)
    assert api.calls == []


def test_the_schedule_that_ships_can_be_applied(api: KfpApi) -> None:
    changes = schedule.apply(Path("configs/schedules/hotel_reviews.yaml"), host=api.url)
    assert actions(changes) == [("create", "hotel-reviews-nightly")]


@pytest.mark.skipif(
    "FINEGATE_LIVE_KFP" not in os.environ, reason="FINEGATE_LIVE_KFP names a KFP API to try"
)
def test_a_live_server_keeps_the_contract(tmp_path: Path) -> None:
    host, name = os.environ["FINEGATE_LIVE_KFP"], f"finegate-live-{uuid4().hex[:8]}"
    nightly = {**NIGHTLY, "enabled": False}
    place = {"experiment": name, "namespace": os.environ.get("FINEGATE_LIVE_NAMESPACE")}
    try:
        first = schedule.apply(write(tmp_path, nightly, **place), host=host)
        assert actions(first) == [("create", "nightly")]
        again = schedule.apply(write(tmp_path, nightly, **place), host=host)
        assert actions(again) == [("keep", "nightly")]
        changed = {**nightly, "cron": "0 30 3 * * *"}
        third = schedule.apply(write(tmp_path, changed, **place), host=host)
        assert actions(third) == [("create", "nightly"), ("delete", "nightly")]
    finally:
        schedule.apply(write(tmp_path, **place), host=host)
        client = cluster.connect(Place(host=host, experiment=name))
        found = cluster.find_experiment(client, Place(experiment=name))
        if found is not None:
            client.delete_experiment(found)
