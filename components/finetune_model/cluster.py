"""Training on a cluster: a TrainJob created or adopted, watched to its end, deleted on cancel."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.console import ERROR_MARK, say
from components.finetune_model.job import Job
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
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException

    try:
        config.load_config()
    except ConfigException as error:
        raise InputError(
            f"no Kubernetes cluster is configured here ({error}). Run in a pod with a "
            "ServiceAccount, set KUBECONFIG, or leave training.cluster unset."
        ) from error
    body = resource(job, cluster, image)
    where = f"TrainJob {cluster.namespace}/{name_of(job)}"
    jobs = client.CustomObjectsApi()
    try:
        _create(jobs, cluster.namespace, body, where)
        with _deleted_on_cancel(jobs, cluster.namespace, name_of(job)):
            told = _Log(client.CoreV1Api(), cluster.namespace, name_of(job))
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
    from kubernetes import watch

    for event in watch.Watch().stream(
        jobs.list_namespaced_custom_object,
        GROUP,
        VERSION,
        namespace,
        PLURAL,
        field_selector=f"metadata.name={name}",
        resource_version=version,
        timeout_seconds=SECONDS_A_WATCH,
    ):
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


def _wait(jobs: Any, namespace: str, name: str, told: "_Log") -> str | None:
    """Wait for the end; None when it is complete, else why it failed."""
    from kubernetes import watch

    while True:  # a watch ends by itself after a while
        for event in watch.Watch().stream(
            jobs.list_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            field_selector=f"metadata.name={name}",
            timeout_seconds=SECONDS_A_WATCH,
        ):
            if event["type"] == "DELETED":
                return "somebody deleted it"
            outcome = _outcome(event["object"])
            if outcome is not None:
                told.finish()
                return outcome or None
            told.follow()


def _outcome(found: dict[str, Any]) -> str | None:
    """'' when it is complete, a reason when it failed, None while it runs."""
    for condition in found.get("status", {}).get("conditions", []):
        if condition["status"] == "True" and condition["type"] == "Complete":
            return ""
        if condition["status"] == "True" and condition["type"] == "Failed":
            return str(condition.get("message") or condition.get("reason") or "no reason given")
    return None


class _Log:
    """Streams the first pod's log to ours, and keeps the refusal that it may contain."""

    def __init__(self, pods: Any, namespace: str, name: str) -> None:
        self._pods, self._namespace, self._name = pods, namespace, name
        self._thread: threading.Thread | None = None
        self.refusal = ""

    def follow(self) -> None:
        """Start streaming once the pod runs."""
        if self._thread is not None:
            return
        pods = self._pods.list_namespaced_pod(
            self._namespace,
            label_selector=f"jobset.sigs.k8s.io/jobset-name={self._name},"
            "batch.kubernetes.io/job-completion-index=0",
        ).items
        if pods and pods[0].status.phase != "Pending":
            self._thread = threading.Thread(
                target=self._stream, args=(pods[0].metadata.name,), daemon=True
            )
            self._thread.start()

    def finish(self) -> None:
        """Read what is left, once the job has ended."""
        self.follow()
        if self._thread is not None:
            self._thread.join(30)

    def _stream(self, pod: str) -> None:
        from kubernetes import watch

        for line in watch.Watch().stream(
            self._pods.read_namespaced_pod_log, name=pod, namespace=self._namespace
        ):
            if line.startswith(ERROR_MARK):
                words = line.removeprefix(f"{ERROR_MARK}{STEP}: ").strip()
                self.refusal = self.refusal or words
            else:
                say(STEP, line.removeprefix(f"{STEP}: "))
