"""The cluster's endpoint: moves an InferenceService to a release, in the way of its own mode."""

from typing import Any

from components.console import say
from components.promote_model.settings import KServeTarget
from components.promote_model.targets.canary import Judge
from components.promote_model.targets.inference_service import InferenceService, Object
from components.promote_model.targets.knative import KnativeRollout
from components.promote_model.targets.standard import StandardRollout
from serving.errors import InputError

STEP = "promote_model"
MODE = "serving.kserve.io/deploymentMode"


class KServeEndpoint:
    """An InferenceService whose shape GitOps owns; promotion owns the model's address.

    Where none stands it is created only when the target says from which manifest.
    """

    def __init__(self, target: KServeTarget) -> None:
        self._target = target

    def roll_out(self, name: str, uri: str, release: dict[str, Any], *, carefully: bool) -> str:
        """Bring the service from whatever state it is in to this release alone.

        What to do next is read from the service's own spec and status, never from memory, so a
        rollout that was killed is taken up where it stands.
        """
        service = InferenceService(self._target.namespace, self._target.service)
        # The address ends in `/`: KServe's storage initializer matches by bare prefix, and
        # `runs/v1` would also bring `runs/v10`.
        address = f"{uri}/"
        found = service.find()
        if found is None:
            if self._target.create is None:
                raise InputError(
                    f"there is no InferenceService {service.namespace}/{service.name}. Create it "
                    "from k8s/base, or name its manifest in the target's `create`."
                )
            found = service.create(self._target.create, address)
            say(STEP, f"created {service.title}")
        rules = self._target.canary if carefully else None
        judge = Judge(self._target, rules, release) if rules is not None else None
        way = KnativeRollout if mode_of(found) == "Knative" else StandardRollout
        rollout = way(service, self._target.seconds, judge)
        settled = rollout.to(found, address, str(release["version"]))
        url = str(settled.get("status", {}).get("url", ""))
        say(STEP, f"{service.title} serves {address} at {url}")
        return url


def mode_of(found: Object) -> str:
    """`Knative` or `Standard`: KServe reads its own status first, then the annotation.

    Serverless and RawDeployment are the names that these modes had before KServe 0.16.
    """
    mode = found.get("status", {}).get("deploymentMode") or (
        found["metadata"].get("annotations", {}).get(MODE, "Standard")
    )
    return "Knative" if mode in ("Knative", "Serverless") else "Standard"
