"""One run on a cluster: started, listed, and its logs read."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pipelines import cluster
from pipelines.cluster import Place, errors, every
from pipelines.config import RunConfig
from serving.errors import InputError


def arguments(config: RunConfig) -> dict[str, Any]:
    """The pipeline's arguments for a cluster, where a config may not lean on this machine.

    Raises InputError for a config without a store or with files of this machine.
    """
    if config.store is None:
        raise InputError(
            "on a cluster a run needs store: s3://bucket/prefix in its config. The embedded store "
            "is this machine's."
        )
    for section, source in (("dataset", config.dataset), ("base_model", config.base_model)):
        if source.path is not None:
            raise InputError(
                f"{section}.path names a file of this machine ({source.path}), which pods do not "
                f"see. Copy it to S3 and write {section}.s3: s3://bucket/key."
            )
    if config.promotion.target.kind == "local":
        raise InputError(
            "promotion.target is of kind local, an endpoint of this machine. On a cluster write "
            "{kind: kserve, namespace: .., service: ..}, or {kind: log}."
        )
    return {"store": config.store, **config.arguments()}


def submit(config: RunConfig, place: Place) -> str:
    """Start one run; returns its id."""
    given = arguments(config)
    client = cluster.connect(place)
    experiment = cluster.experiment(client, place)
    pipeline, version = cluster.pipeline_version(client, place)
    name = f"{config.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    with errors("start the run"), cluster.quiet():
        run = client.run_pipeline(
            experiment_id=experiment,
            job_name=name,
            params=given,
            pipeline_id=pipeline,
            version_id=version,
            service_account=place.service_account,
        )
    return str(run.run_id)


def runs(place: Place, limit: int) -> list[Any]:
    """The newest runs of the experiment."""
    client = cluster.connect(place)
    experiment = cluster.find_experiment(client, place)
    if experiment is None:
        return []
    found = []
    with errors("list runs"):
        for run in every(
            client.list_runs, "runs", experiment_id=experiment, sort_by="created_at desc"
        ):
            found.append(run)
            if len(found) == limit:
                break
    return found


def logs(run_id: str, place: Place, step: str | None = None) -> Iterator[tuple[str, str]]:
    """(step, log) of each pod of a run, in the order in which they started.

    KFP reads a pod's log while it is there, and its archived log afterwards. Raises InputError for
    a run or step that is not there.
    """
    client = cluster.connect(place)
    with errors(f"read the run {run_id}"):
        run = client.get_run(run_id)
    tasks = (run.run_details and run.run_details.task_details) or []
    names = {task.task_id: task.display_name for task in tasks}
    pods: dict[str, str] = {}
    for task in sorted(tasks, key=lambda task: str(task.start_time or "9")):
        for child in task.child_tasks or []:
            if child.pod_name and child.task_id not in names:
                pods.setdefault(child.pod_name, task.display_name)
        if task.pod_name:
            pods.setdefault(task.pod_name, task.display_name)
    wanted = {pod: name for pod, name in pods.items() if step in (None, name)}
    if not wanted:
        known = ", ".join(dict.fromkeys(pods.values())) or "none yet"
        raise InputError(f"run {run_id} has no logs of {step or 'its steps'}; it has: {known}.")
    for pod, name in wanted.items():
        with errors(f"read the log of {name}"):
            answer = client._run_api.api_client.call_api(
                "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log",
                "GET",
                path_params={"run_id": run_id, "node_id": pod},
                auth_settings=["Bearer"],
                response_type=None,
                _preload_content=False,
                _return_http_data_only=True,
            )
        yield name, answer.data.decode(errors="replace")
