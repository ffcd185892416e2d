"""Schedules, declared in a file and reconciled with KFP's recurring runs.

KFP cannot update a recurring run and makes a second one of the same name without a word. So each
carries the hash of what it was made from; a change makes a new one and then removes the old one. A
crash in between leaves two, of which the next apply removes the old one.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines import cluster, submit
from pipelines import compile as ir
from pipelines.cluster import Place, errors, every
from pipelines.config import load
from pipelines.schedule_file import Schedule, ScheduleFile, read
from serving.errors import InputError

_MARK = re.compile(r"finegate-schedule ([0-9a-f]{64})")


@dataclass(frozen=True)
class Change:
    """One step of a plan."""

    action: Literal["keep", "create", "delete", "enable", "disable"]
    name: str
    why: str
    id: str = ""


@dataclass(frozen=True)
class _Wanted:
    schedule: Schedule
    arguments: dict[str, Any]
    spec: str


def apply(path: Path, *, dry_run: bool = False, host: str | None = None) -> list[Change]:
    """Make the recurring runs as the file says; returns what was (or would be) done, in order.

    Safe to repeat and to kill anywhere. Of the experiment's recurring runs those that finegate made
    and the file no longer has are deleted; those that other tools made are left alone. Raises
    InputError for a file that cannot run on a cluster, before anything is asked of the server.
    """
    file = read(path)
    _, version = ir.compiled(file.registry)
    wanted = [_wanted(each, file, version, path.parent) for each in file.schedules]
    place = file.model_copy(update={"host": host}) if host else file
    client = cluster.connect(place)
    experiment = cluster.find_experiment(client, place)
    existing = [] if experiment is None else _existing(client, experiment)
    changes = plan({each.schedule.name: each for each in wanted}, existing)
    if dry_run or all(change.action == "keep" for change in changes):
        return changes
    if any(change.action == "create" for change in changes):
        experiment = cluster.experiment(client, place)
        pipeline = cluster.pipeline_version(client, place)
    by_name = {each.schedule.name: each for each in wanted}
    for change in changes:
        with errors(f"{change.action} the schedule {change.name}"):
            if change.action == "create":
                _create(client, place, str(experiment), pipeline, by_name[change.name])
            elif change.action == "delete":
                _delete(client, change.id)
            elif change.action == "enable":
                client.enable_recurring_run(change.id)
            elif change.action == "disable":
                client.disable_recurring_run(change.id)
    return changes


def plan(wanted: dict[str, _Wanted], existing: list[Any]) -> list[Change]:
    """What to do, creations before deletions. `existing` is KFP's recurring runs, oldest first."""
    keeps, creates, deletes = [], [], []
    for name, want in wanted.items():
        same = [run for run in existing if run.display_name == name]
        if any(_spec(run) is None for run in same):
            raise InputError(
                f"a recurring run called {name} is there that finegate did not make. Rename the "
                "schedule, or delete that one in KFP."
            )
        current = [run for run in same if _spec(run) == want.spec]
        if current:
            keeps.append(_kept(current[0], want.schedule))
        else:
            why = "its settings, config or pipeline changed" if same else "it is new"
            creates.append(Change("create", name, why))
        for run in same:
            if run not in current[:1]:
                why = "a duplicate" if run in current else "replaced"
                deletes.append(Change("delete", name, why, run.recurring_run_id))
    for run in existing:
        if _spec(run) is not None and run.display_name not in wanted:
            deletes.append(
                Change("delete", run.display_name, "it left the file", run.recurring_run_id)
            )
    return [*keeps, *creates, *deletes]


def _kept(run: Any, schedule: Schedule) -> Change:
    enabled = run.mode == "ENABLE"
    if enabled == schedule.enabled:
        return Change("keep", schedule.name, "unchanged", run.recurring_run_id)
    action: Literal["enable", "disable"] = "enable" if schedule.enabled else "disable"
    return Change(action, schedule.name, "it was switched by hand", run.recurring_run_id)


def _wanted(schedule: Schedule, file: ScheduleFile, version: str, folder: Path) -> _Wanted:
    given = submit.arguments(load(folder / schedule.config, schedule.set))
    content = {
        "schedule": schedule.model_dump(mode="json", exclude={"config", "set", "enabled"}),
        "arguments": given,
        "pipeline": version,
        "service_account": file.service_account,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return _Wanted(schedule, given, hashlib.sha256(text.encode()).hexdigest())


def _existing(client: Any, experiment: str) -> list[Any]:
    with errors("list schedules"):
        found = list(every(client.list_recurring_runs, "recurring_runs", experiment_id=experiment))
    return sorted(found, key=lambda run: (str(run.created_at), run.recurring_run_id))


def _spec(run: Any) -> str | None:
    mark = _MARK.search(run.description or "")
    return mark[1] if mark else None


def _create(
    client: Any, place: Place, experiment: str, pipeline: tuple[str, str], want: _Wanted
) -> None:
    schedule = want.schedule
    client.create_recurring_run(
        experiment_id=experiment,
        job_name=schedule.name,
        description=f"finegate-schedule {want.spec}",
        cron_expression=schedule.cron,
        max_concurrency=schedule.max_concurrency,
        no_catchup=not schedule.catchup,
        params=want.arguments,
        pipeline_id=pipeline[0],
        version_id=pipeline[1],
        enabled=schedule.enabled,
        service_account=place.service_account,
    )


def _delete(client: Any, recurring_run: str) -> None:
    from kfp_server_api.exceptions import ApiException

    try:
        client.delete_recurring_run(recurring_run)
    except ApiException as error:
        if error.status != 404:  # else somebody was faster
            raise
