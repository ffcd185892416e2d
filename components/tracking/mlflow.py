"""MLflow beside the store: runs with their curves, and the champion as a registered model version.

The store is the truth. What MLflow could not be told is told in one line and fails nothing; doing
it again completes it and repeats nothing.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from components import folders, promotions, storage
from components.console import say
from components.tracking.settings import MlflowSettings
from serving.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

STEP = "tracking"
CHAMPION = "champion"
RUN, VERSION = "finegate.run", "finegate.version"
METRICS_A_REQUEST = 1000
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow's own 7 tries of 120 s would keep the last task of a run waiting for half an hour.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def track(store: str, name: str, run: str, settings: MlflowSettings) -> None:
    """Tell MLflow of a run that came to a verdict, and of the champion that there is now."""
    _told(f"run {run}", settings, lambda client: _run(client, store, name, run, settings))
    follow(store, name, settings)


def follow(store: str, name: str, settings: MlflowSettings) -> None:
    """Set the alias `champion` to the version that the promotion log names, registered if new."""
    _told(
        f"the champion of {name}", settings, lambda client: _champion(client, store, name, settings)
    )


def _told(what: str, settings: MlflowSettings, tell: "Callable[[MlflowClient], str]") -> None:
    try:
        say(STEP, tell(_client(settings)))
    except Exception as error:  # noqa: BLE001 - whatever a client raises, no promotion fails by it
        reason = " ".join(str(error).split())[:300]
        say(STEP, f"MLflow was not told of {what} ({type(error).__name__}: {reason})")


def _client(settings: MlflowSettings) -> "MlflowClient":
    uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise InputError("no address: set tracking.uri or MLFLOW_TRACKING_URI")
    for variable, value in DEFAULTS.items():
        os.environ.setdefault(variable, value)  # read when mlflow is imported
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise InputError(
            "mlflow-skinny is not installed: pip install 'finegate[mlflow]', or build the image "
            "with DATA=data,mlflow"
        ) from error
    return MlflowClient(uri, uri)


def _run(client: "MlflowClient", store: str, name: str, run: str, settings: MlflowSettings) -> str:
    """Parameters, curves, metrics, verdict and report of a run, under its own id as name."""
    from mlflow.entities import Metric, Param

    verdict = storage.read_json(f"{store}/runs/{run}/verdict.json")
    if verdict is None:
        return f"run {run} has no verdict, so MLflow is not told of it"
    experiment = _experiment(client, settings.experiment or name)
    found = _tracked(client, experiment, run)
    if found is None:
        tags = {
            RUN: run,
            VERSION: verdict["candidate"],
            "finegate.decision": verdict["decision"],
            "finegate.reason": verdict["reason"][:5000],
            "finegate.store": store,
        }
        found = client.create_run(experiment, run_name=run, tags=tags)
    if found.info.status == "FINISHED":
        return f"MLflow knows run {run}"
    key, began = found.info.run_id, found.info.start_time
    model = folders.existing(verdict["model"])
    params = [Param(name, str(value)) for name, value in _parameters(model)]
    client.log_batch(key, params=params)
    # Times that are the same at each try: MLflow's database keeps a point once.
    points = [
        Metric(metric, float(value), began + round(1000 * point["seconds"]), point["step"])
        for point in storage.read_json_lines(folders.address(verdict["model"], "training.jsonl"))
        for metric, value in point.items()
        if metric not in ("step", "seconds")
    ]
    points += [
        Metric(f"test/{metric}", float(value), began, 0)
        for metric, value in folders.existing(verdict["evaluation"])["metrics"].items()
        if isinstance(value, int | float)
    ]
    for start in range(0, len(points), METRICS_A_REQUEST):
        client.log_batch(key, metrics=points[start : start + METRICS_A_REQUEST])
    client.log_dict(key, verdict, "verdict.json")
    report = storage.read_bytes(f"{store}/runs/{run}/report.html")
    if report is not None:
        client.log_text(key, report.decode(), "report.html")
    client.set_terminated(key, "FINISHED")  # last: what is finished is whole
    return f"MLflow was told of run {run} ({len(points)} points)"


def _champion(client: "MlflowClient", store: str, name: str, settings: MlflowSettings) -> str:
    """Whoever sets the alias looks at the log again afterwards: the last to act acts on its end."""
    champion = promotions.champion(store, name)
    if champion is None:
        return f"{name} has no champion, so MLflow is not told of one"
    while True:
        version = _registered(client, store, name, champion.version, settings)
        client.set_registered_model_alias(name, CHAMPION, version)
        now = promotions.champion(store, name)
        if now is None or now.version == champion.version:
            return f"MLflow's {name}@{CHAMPION} is its version {version}, {champion.version}"
        champion = now


def _registered(
    client: "MlflowClient", store: str, name: str, version: str, settings: MlflowSettings
) -> str:
    """MLflow's number of a release, registered under its S3 address if it is new."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=f"Releases of finegate in {store}")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{promotions.release_uri(store, name, version)}/"
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.source == source:
            return str(known.version)
    release = promotions.release(store, name, version)
    if release is None:
        raise InputError(f"{name} has no release {version}")
    experiment = client.get_experiment_by_name(settings.experiment or name)
    run = experiment and _tracked(client, experiment.experiment_id, release["run"])
    made = client.create_model_version(
        name,
        source,
        run_id=run.info.run_id if run else None,
        tags={VERSION: version, RUN: release["run"]},
        description=release["lineage"]["verdict"]["reason"][:5000],
        await_creation_for=0,
    )
    return str(made.version)


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _tracked(client: "MlflowClient", experiment: str, run: str) -> Any:
    found = client.search_runs([experiment], f"tags.`{RUN}` = '{run}'", max_results=1)
    return found[0] if found else None


def _parameters(model: folders.Manifest) -> Iterator[tuple[str, Any]]:
    for name in ("dataset", "tokenized", "base_model", "max_length"):
        yield name, model[name]
    for name, value in model["settings"].items():
        if value is not None:
            yield f"training.{name}", json.dumps(value) if isinstance(value, dict) else value
