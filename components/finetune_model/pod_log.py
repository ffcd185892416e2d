"""The log of a TrainJob's first pod, told in this step's own."""

import math
import time
from typing import Any

from components.console import ERROR_MARK, say

STEP = "finetune_model"
SECONDS_TO_CONNECT_AND_ANSWER = (10.0, 30.0)
OVERLAP = 5
"""Seconds before the last reading that are read again: its answer took a while."""


class PodLog:
    """Tells the first pod's log, and keeps the refusal that it may contain."""

    def __init__(self, pods: Any, namespace: str, name: str) -> None:
        self._pods, self._namespace, self._name = pods, namespace, name
        self._pod = ""
        self._told = ""
        self._asked = 0.0
        self.refusal = ""

    def read(self) -> None:
        """Tell the lines since the last reading; none when no pod has begun or its log is gone.

        Raises what the Kubernetes client raises when the cluster refuses or does not answer.
        """
        from kubernetes.client.exceptions import ApiException

        asked = time.monotonic()
        pods = self._pods.list_namespaced_pod(
            self._namespace,
            label_selector=f"jobset.sigs.k8s.io/jobset-name={self._name},"
            "batch.kubernetes.io/job-completion-index=0",
            _request_timeout=SECONDS_TO_CONNECT_AND_ANSWER,
        ).items
        begun = [pod.metadata for pod in pods if pod.status.phase != "Pending"]
        if not begun:
            return
        newest = max(begun, key=lambda metadata: metadata.creation_timestamp).name
        if newest != self._pod:  # a runtime may let a failed pod be tried again
            self._pod, self._told, self._asked = newest, "", 0.0
        since = {"since_seconds": math.ceil(asked - self._asked) + OVERLAP} if self._asked else {}
        try:
            answer = self._pods.read_namespaced_pod_log(
                newest,
                self._namespace,
                timestamps=True,
                **since,
                _preload_content=False,  # which would take a line of JSON for the whole answer
                _request_timeout=SECONDS_TO_CONNECT_AND_ANSWER,
            )
        except ApiException as error:
            if error.status in (400, 404):  # the container is not there yet, or no more
                return
            raise
        self._tell(answer.data.decode(errors="replace"))
        self._asked = asked

    def _tell(self, log: str) -> None:
        """Say each line once: the kubelet's timestamps are all of one width."""
        told = self._told
        for line in log.split("\n"):
            stamp, _, words = line.partition(" ")
            if stamp <= told:
                continue
            self._told = stamp
            if words.startswith(ERROR_MARK):
                refusal = words.removeprefix(f"{ERROR_MARK}{STEP}: ").strip()
                self.refusal = self.refusal or refusal
            elif words:
                say(STEP, words.removeprefix(f"{STEP}: "))
