"""The log of a TrainJob's first pod, streamed to this step's own."""

import threading
from typing import Any

from components.console import ERROR_MARK, say

STEP = "finetune_model"


class PodLog:
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
