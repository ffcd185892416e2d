"""The cluster's endpoint: sets an InferenceService's storageUri and nothing else."""

from typing import Any

from components.console import say
from components.promote_model.settings import KServeTarget
from serving.errors import InputError

STEP = "promote_model"
FIELD_MANAGER = "finegate"
GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"


class KServeEndpoint:
    """An InferenceService whose shape GitOps owns; promotion owns the model's address."""

    def __init__(self, target: KServeTarget) -> None:
        self._target = target

    def roll_out(self, name: str, uri: str, release: dict[str, Any]) -> str:
        """Server-side apply of the storageUri, then wait by watch until the service is ready."""
        from kubernetes import client, config
        from kubernetes.client.exceptions import ApiException
        from kubernetes.config.config_exception import ConfigException

        try:
            config.load_config()
        except ConfigException as error:
            raise InputError(
                f"no Kubernetes cluster is configured here ({error}). Run in a pod with a "
                "ServiceAccount, or set KUBECONFIG."
            ) from error
        services = client.CustomObjectsApi()
        where = f"InferenceService {self._target.namespace}/{self._target.service}"
        try:
            applied = services.patch_namespaced_custom_object(
                GROUP,
                VERSION,
                self._target.namespace,
                PLURAL,
                self._target.service,
                patch(self._target, uri),
                field_manager=FIELD_MANAGER,
                force=True,
                _content_type="application/apply-patch+yaml",
            )
            url = self._wait(services, applied)
        except ApiException as error:
            raise InputError(
                f"the cluster refused to roll out {where}: {error.status} {error.reason}. Create "
                "it from k8s/ if it does not exist, and bind the promoter Role to this "
                "ServiceAccount."
            ) from error
        say(STEP, f"{where} serves {uri}/ at {url}")
        return url

    def _wait(self, services: Any, applied: dict[str, Any]) -> str:
        from kubernetes import watch

        generation = applied["metadata"]["generation"]
        stream = watch.Watch()
        for event in stream.stream(
            services.list_namespaced_custom_object,
            GROUP,
            VERSION,
            self._target.namespace,
            PLURAL,
            field_selector=f"metadata.name={self._target.service}",
            timeout_seconds=self._target.seconds,
        ):
            status = event["object"].get("status", {})
            if ready(status, generation):
                stream.stop()
                return str(status.get("url", ""))
        raise InputError(
            f"{self._target.service} was not ready within {self._target.seconds} s of its new "
            "storageUri. `kubectl describe inferenceservice` tells why; the revision before goes "
            "on answering. Raise promotion.target.seconds if the image is slow to start."
        )


def patch(target: KServeTarget, uri: str) -> dict[str, Any]:
    """The apply body: it claims `storageUri` alone, and cannot create a service that is not there.

    The address ends in `/`: KServe's storage initializer matches by bare prefix, and `runs/v1`
    would also bring `runs/v10`.
    """
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": {"name": target.service, "namespace": target.namespace},
        "spec": {"predictor": {"model": {"storageUri": f"{uri}/"}}},
    }


def ready(status: dict[str, Any], generation: int) -> bool:
    """True when the status speaks of `generation` or a later one, and is Ready."""
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    return status.get("observedGeneration", 0) >= generation and conditions.get("Ready") == "True"
