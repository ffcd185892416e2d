"""One InferenceService through the official client: find, server-side apply, wait by watch."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from components import kube_config
from serving.errors import InputError

FIELD_MANAGER = "finegate"
CREATOR = "finegate-create"
"""Owns what a created service began with; a later apply of ours takes nothing of it away."""
GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
RECONNECT_SECONDS = 1.0

Object = dict[str, Any]


class InferenceService:
    """A service whose shape GitOps owns, or the manifest that it was created from.

    It uses the verbs get, patch and watch, those of the Role in k8s/base; to create also create,
    which k8s/components/create-service grants.
    """

    def __init__(self, namespace: str, name: str) -> None:
        from kubernetes import client

        self.namespace, self.name = namespace, name
        configuration = kube_config.configuration()
        self._reader = client.CustomObjectsApi(client.ApiClient(configuration))
        applier = client.ApiClient(configuration)
        # This client knows merge patches only; a default header wins over what it chooses.
        applier.set_default_header("Content-Type", "application/apply-patch+yaml")
        self._applier = client.CustomObjectsApi(applier)

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"InferenceService {self.namespace}/{self.name}"

    def find(self) -> Object | None:
        """The object as it is, or None."""
        from kubernetes.client.exceptions import ApiException

        with self._errors():
            try:
                found: Object = self._reader.get_namespaced_custom_object(*self._place)
            except ApiException as error:
                if error.status != 404:
                    raise
                return None
            return found

    def create(self, manifest: Object, uri: str) -> Object:
        """Create the service of `manifest` with the model at `uri`; returns it.

        Of two that race one creates it, and the other's apply changes nothing.
        """
        body = copy.deepcopy(manifest)
        body["metadata"]["namespace"] = self.namespace
        body["spec"]["predictor"]["model"]["storageUri"] = uri
        return self._apply(body, CREATOR)

    def apply(self, spec: dict[str, Any]) -> Object:
        """Server-side apply of `spec` alone; returns the object as it is afterwards.

        Fields that an earlier apply of ours set and that `spec` leaves out are removed. The
        server refuses fields that its CRD does not know, instead of dropping them.
        """
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "InferenceService",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }
        return self._apply(body, FIELD_MANAGER)

    def _apply(self, body: Object, manager: str) -> Object:
        with self._errors():
            applied: Object = self._applier.patch_namespaced_custom_object(
                *self._place,
                body,
                field_manager=manager,
                field_validation="Strict",
                force=True,
            )
            return applied

    def wait(self, done: Callable[[Object], bool], seconds: float) -> Object | None:
        """The first state that is `done`, or None after `seconds`. What `done` raises passes on.

        A watch that ends, breaks or expires, or a server that is away, is asked anew until then.
        """
        from kubernetes import watch
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            began = time.monotonic()
            events = watch.Watch().stream(
                self._reader.list_namespaced_custom_object,
                *self._place[:-1],
                field_selector=f"metadata.name={self.name}",
                timeout_seconds=max(1, round(left)),
                _request_timeout=(10, left + 10),
            )
            try:
                with closing(events):
                    for event in events:
                        if event["type"] in ("ADDED", "MODIFIED") and done(event["object"]):
                            found: Object = event["object"]
                            return found
                        if time.monotonic() > deadline:
                            break
            except ApiException as error:
                if error.status not in (410, 429) and error.status < 500:
                    raise self._explained(error) from error
            except HTTPError:
                pass
            # A server that ends every watch at once is not asked in a tight loop.
            pause = RECONNECT_SECONDS - (time.monotonic() - began)
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        return None

    def owns(self, found: Object, *path: str) -> bool:
        """True when the last apply of ours set the field at `path`."""
        for entry in found["metadata"].get("managedFields", []):
            if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
                fields = entry.get("fieldsV1", {})
                for part in path:
                    fields = fields.get(f"f:{part}")
                    if fields is None:
                        return False
                return True
        return False

    @property
    def _place(self) -> tuple[str, str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURAL, self.name

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            raise self._explained(error) from error
        except HTTPError as error:
            raise InputError(
                f"the cluster of {self.title} does not answer ({error}). Check KUBECONFIG and the "
                "network between here and there, and run again; it goes on from there."
            ) from error

    def _explained(self, error: Any) -> InputError:
        remedy = {
            401: "Check the credentials in KUBECONFIG or the ServiceAccount's token.",
            403: "Bind the Role finegate-promoter of k8s/base to this ServiceAccount; to create "
            "a service, also that of k8s/components/create-service.",
        }.get(error.status, "The message is the cluster's.")
        said = " ".join(str(error.body or error.reason).split())
        return InputError(f"the cluster refused {self.title}: {error.status} {said}. {remedy}")
