"""Training on a cluster: a TrainJob created or adopted, seen to its end, deleted on cancel."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from components import kube_config
from components.console import say
from components.finetune_model.job import Job
from components.finetune_model.pod_log import SECONDS_TO_CONNECT_AND_ANSWER, PodLog
from components.finetune_model.settings import ClusterSettings
from components.finetune_model.trainjob import GROUP, PLURAL, VERSION, name_of, resource
from serving.errors import InputError

STEP = "finetune_model"
SECONDS_BETWEEN_LOOKS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
TRIES = 7

Answer = TypeVar("Answer")


def run(job: Job, cluster: ClusterSettings) -> None:
    """Create the TrainJob, or adopt the one that runs, and wait until it is complete.

    A finished one of the same name that left no result is deleted first. When this process is
    asked to stop, the TrainJob is deleted with it. An API server that does not answer is asked
    again: for about a minute to create the TrainJob, and as long as it takes once that runs.

    Raises InputError with the worker's own words, or with what the cluster refused, RuntimeError
    when the TrainJob failed without a word of the worker.
    """
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    api = client.ApiClient(kube_config.configuration())
    where = f"TrainJob {cluster.namespace}/{name_of(job)}"
    there = _TrainJob(client.CustomObjectsApi(api), cluster.namespace, name_of(job))
    told = PodLog(client.CoreV1Api(api), cluster.namespace, name_of(job))
    try:
        with _deleted_on_cancel(there, where):
            _start(there, resource(job, cluster), where)
            failure = _wait(there, told)
    except (ApiException, HTTPError) as error:
        raise InputError(_explained(error, where)) from error
    if failure is None:
        return
    if told.refusal:
        raise InputError(told.refusal)
    raise RuntimeError(
        f"{where} failed: {failure}. Run again: training goes on from the last checkpoint."
    )


class _TrainJob:
    """One TrainJob at the API server, which is asked again while it does not answer."""

    def __init__(self, jobs: Any, namespace: str, name: str) -> None:
        self._jobs = jobs
        self._place = (GROUP, VERSION, namespace, PLURAL)
        self._name = name
        self._limits = {"_request_timeout": SECONDS_TO_CONNECT_AND_ANSWER}

    def create(self, body: dict[str, Any]) -> bool:
        """False when there is one."""

        def create() -> Any:
            with _cancelled_afterwards():
                return self._jobs.create_namespaced_custom_object(
                    *self._place, body, **self._limits
                )

        return _unless(409, create) is not None

    def find(self, tries: int | None = TRIES) -> dict[str, Any] | None:
        found: dict[str, Any] | None = _unless(
            404,
            lambda: self._jobs.get_namespaced_custom_object(
                *self._place, self._name, **self._limits
            ),
            tries,
        )
        return found

    def delete(self) -> None:
        """Ask for its deletion, which ends when its pods are gone."""
        _unless(
            404,
            lambda: self._jobs.delete_namespaced_custom_object(
                *self._place, self._name, propagation_policy="Foreground", **self._limits
            ),
        )


def _start(there: _TrainJob, body: dict[str, Any], where: str) -> None:
    while not there.create(body):
        found = there.find()
        if found is not None and "deletionTimestamp" not in found["metadata"]:
            if _outcome(found) is None:
                say(STEP, f"adopted {where}, which runs already")
                return
            say(STEP, f"{where} ended before and left no result: starting it anew")
            there.delete()
        time.sleep(SECONDS_BETWEEN_LOOKS)
    say(STEP, f"created {where}")


def _wait(there: _TrainJob, told: PodLog) -> str | None:
    """Wait for the end; None when it is complete, else why it failed.

    It is asked after again and again rather than watched: a watch that breaks off, or that a
    load balancer forgets, misses the end, and of a deletion between two watches nobody tells.
    """
    while True:
        found = there.find(tries=None)
        outcome = "somebody deleted it" if found is None else _outcome(found)
        _tell(told, tries=1 if outcome is None else TRIES)
        if outcome is not None:
            return outcome or None
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _tell(told: PodLog, tries: int) -> None:
    """Read the log, without which training goes on; what must not be read at all is raised."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        _patiently(told.read, tries)
    except (ApiException, HTTPError) as error:
        if not _transient(error):
            raise


def _outcome(found: dict[str, Any]) -> str | None:
    """'' when it is complete, a reason when it failed, None while it runs."""
    for condition in found.get("status", {}).get("conditions", []):
        if condition["status"] == "True" and condition["type"] == "Complete":
            return ""
        if condition["status"] == "True" and condition["type"] == "Failed":
            return str(condition.get("message") or condition.get("reason") or "no reason given")
    return None


@contextmanager
def _deleted_on_cancel(there: _TrainJob, where: str) -> Iterator[None]:
    """Delete the TrainJob when this process is told to stop: its pods would hold the GPUs."""

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut the deletion short
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        say(STEP, f"stopped: deleting {where}")
        there.delete()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _cancelled_afterwards() -> Iterator[None]:
    """Hold SIGTERM back: a creation that is cut off may happen after the deletion."""
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if asked:
            signal.raise_signal(signal.SIGTERM)


def _unless(status: int, call: Callable[[], Answer], tries: int | None = TRIES) -> Answer | None:
    """What the API server answers, or None when it answers with that status."""
    from kubernetes.client.exceptions import ApiException

    try:
        return _patiently(call, tries)
    except ApiException as error:
        if error.status != status:
            raise
        return None


def _patiently(call: Callable[[], Answer], tries: int | None) -> Answer:
    """Call the API server; while it does not answer again, with longer and longer pauses."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    attempt, pause = 1, FIRST_PAUSE
    while True:
        try:
            return call()
        except (ApiException, HTTPError) as error:
            if not _transient(error) or attempt == tries:
                raise
            say(STEP, f"asking again in {pause:.0f} s: {_words(error)}")
        time.sleep(pause)
        attempt, pause = attempt + 1, min(2 * pause, LONGEST_PAUSE)


def _transient(error: Exception) -> bool:
    """True for a connection that failed, and for a server that is overloaded or away."""
    status = getattr(error, "status", 0)  # the client gives a TLS error the status 0
    return status in (0, 429) or status >= 500


def _words(error: Exception) -> str:
    """What went wrong, in the API server's own words where it sent some."""
    from kubernetes.client.exceptions import ApiException

    if not isinstance(error, ApiException):
        return f"the API server cannot be reached ({error})"
    words = f"the API server answers {error.status} {error.reason}"
    with suppress(ValueError, TypeError, KeyError):  # a proxy's page has no message
        words += f": {json.loads(error.body)['message']}"
    return words


def _explained(error: Exception, where: str) -> str:
    if _transient(error):
        remedy = "Run again when the cluster answers: a TrainJob that runs by then is adopted."
    elif getattr(error, "status", 0) in (403, 404):
        remedy = (
            "Install Kubeflow Trainer v2, and in this namespace k8s/training: the runtime that "
            "training.cluster.runtime names, and the Role, bound to this step's ServiceAccount."
        )
    else:
        remedy = "Correct training.cluster, or what this step shows the cluster to be let in."
    return f"{where}: {_words(error)}. {remedy}"
