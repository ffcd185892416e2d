"""Training on a cluster: a TrainJob created or adopted, watched to its end, deleted on cancel."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components import kube_config
from components.console import say
from components.finetune_model.job import Job
from components.finetune_model.pod_log import PodLog
from components.finetune_model.settings import ClusterSettings
from components.finetune_model.trainjob import GROUP, PLURAL, VERSION, name_of, resource
from serving.errors import InputError

STEP = "finetune_model"
SECONDS_A_WATCH = 300


def run(job: Job, cluster: ClusterSettings, image: str) -> None:
    """Create the TrainJob, or adopt the one that runs, and wait until it is complete.

    A finished one of the same name that left no result is deleted first. When this process is
    asked to stop, the TrainJob is deleted with it. Raises InputError with the worker's own words,
    or with what the cluster refused.
    """
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException

    api = client.ApiClient(kube_config.configuration())
    body = resource(job, cluster, image)
    where = f"TrainJob {cluster.namespace}/{name_of(job)}"
    jobs = client.CustomObjectsApi(api)
    try:
        _create(jobs, cluster.namespace, body, where)
        with _deleted_on_cancel(jobs, cluster.namespace, name_of(job)):
            told = PodLog(client.CoreV1Api(api), cluster.namespace, name_of(job))
            failure = _wait(jobs, cluster.namespace, name_of(job), told)
    except ApiException as error:
        raise InputError(
            f"the cluster refused {where}: {error.status} {error.reason}. Install Kubeflow Trainer "
            "v2 with the runtime that training.cluster.runtime names, and bind the Role of "
            "k8s/training to this ServiceAccount."
        ) from error
    if told.refusal:
        raise InputError(told.refusal)
    if failure is not None:
        raise RuntimeError(
            f"{where} failed: {failure}. Run again: training goes on from the last checkpoint."
        )


def _create(jobs: Any, namespace: str, body: dict[str, Any], where: str) -> None:
    from kubernetes.client.exceptions import ApiException

    name = body["metadata"]["name"]
    while True:
        try:
            jobs.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, body)
        except ApiException as error:
            if error.status != 409:
                raise
        else:
            say(STEP, f"created {where}")
            return
        try:
            found = jobs.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
        except ApiException as error:
            if error.status == 404:  # gone between the two calls
                continue
            raise
        if _outcome(found) is None and "deletionTimestamp" not in found["metadata"]:
            say(STEP, f"adopted {where}, which runs already")
            return
        say(STEP, f"{where} ended before and left no result: starting it anew")
        _delete(jobs, namespace, name)
        _wait_until_gone(jobs, namespace, name, found["metadata"]["resourceVersion"])


def _wait_until_gone(jobs: Any, namespace: str, name: str, version: str) -> None:
    for event in _events(jobs, namespace, name, resource_version=version):
        if event["type"] == "DELETED":
            return


def _delete(jobs: Any, namespace: str, name: str) -> None:
    from kubernetes.client.exceptions import ApiException

    try:
        jobs.delete_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, name, propagation_policy="Foreground"
        )
    except ApiException as error:
        if error.status != 404:
            raise


@contextmanager
def _deleted_on_cancel(jobs: Any, namespace: str, name: str) -> Iterator[None]:
    """Delete the TrainJob when this process is told to stop: its pods would hold the GPUs."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        say(STEP, f"stopped: deleting TrainJob {namespace}/{name}")
        _delete(jobs, namespace, name)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait(jobs: Any, namespace: str, name: str, told: PodLog) -> str | None:
    """Wait for the end; None when it is complete, else why it failed."""
    while True:  # a watch ends by itself after a while
        for event in _events(jobs, namespace, name):
            if event["type"] == "DELETED":
                return "somebody deleted it"
            outcome = _outcome(event["object"])
            if outcome is not None:
                told.finish()
                return outcome or None
            told.follow()


def _events(jobs: Any, namespace: str, name: str, **since: str) -> Iterator[dict[str, Any]]:
    """One watch of the TrainJob: its events until the watch ends."""
    from kubernetes import watch

    events: Iterator[dict[str, Any]] = watch.Watch().stream(
        jobs.list_namespaced_custom_object,
        GROUP,
        VERSION,
        namespace,
        PLURAL,
        field_selector=f"metadata.name={name}",
        timeout_seconds=SECONDS_A_WATCH,
        **since,
    )
    return events


def _outcome(found: dict[str, Any]) -> str | None:
    """'' when it is complete, a reason when it failed, None while it runs."""
    for condition in found.get("status", {}).get("conditions", []):
        if condition["status"] == "True" and condition["type"] == "Complete":
            return ""
        if condition["status"] == "True" and condition["type"] == "Failed":
            return str(condition.get("message") or condition.get("reason") or "no reason given")
    return None
