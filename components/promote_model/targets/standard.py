"""Standard mode: Deployments; a canary is an entry of `spec.canary` that takes over by its name.

Read from KServe 0.21's source (predictor.go, inference_service_validation.go): a canary that is
not ready gets no traffic; the one whose name `predictor.name` takes becomes the stable Deployment
without a restart; a Deployment that the spec no longer names is deleted at once. So traffic is
moved away before anything is taken out of the spec.
"""

from collections.abc import Callable
from typing import Any

from components.promote_model.targets.inference_service import Object
from components.promote_model.targets.progress import (
    Rollout,
    address_of,
    condition,
    is_ready,
    predictor,
)
from serving.errors import InputError

CONTAINER = "kserve-container"
SCALER = "serving.kserve.io/autoscalerClass"
NOT_FOR_CANARIES = {
    "keda": "KServe gives a canary's ScaledObject no triggers, which KEDA refuses",
    "external": "what scales the service by its Deployment's name would scale nothing afterwards",
}
"""Classes under which a canary cannot become the service, with the reason."""


class StandardRollout(Rollout):
    """Brings a service of Deployments to one release."""

    def to(self, found: Object, address: str, version: str) -> Object:
        """Serve `address` alone, from whatever stands in the spec."""
        stable = address_of(predictor(found))
        if stable != address and stable is not None and self._judge is not None:
            return self._by_canary(found, address, version)
        found = self._without_canary(found)
        return self._applied(
            found, self._spec(found, address), _rolled_out(found, address), "the new version"
        )

    def _by_canary(self, found: Object, address: str, version: str) -> Object:
        name = f"v{version}"
        scaler = found["metadata"].get("annotations", {}).get(SCALER, "")
        if scaler in NOT_FOR_CANARIES:
            raise InputError(
                f"{self._service.title} is scaled as {SCALER} says, {scaler}, so no canary can "
                f"take over: {NOT_FOR_CANARIES[scaler]}. Take canary out of the target, or let "
                "KServe's own autoscaler (hpa) scale the service."
            )
        if not self._service.owns(found, "spec", "predictor", "name") and (
            predictor(found).get("name")
        ):
            raise InputError(
                f"{self._service.title} has a predictor.name of its own, but a canary takes over "
                "by that name. Take the name out of the manifest, or canary out of the target."
            )
        assert self._judge is not None
        [*entries] = found["spec"].get("canary") or []
        reached = 0
        if [address_of(entry["predictor"]) for entry in entries] == [address]:
            reached = int(entries[0]["trafficPercent"])
        elif entries:
            found = self._without_canary(found)
        stable = str(address_of(predictor(found)))
        for percent in self._judge.rules.steps:
            if percent < reached:
                continue
            entry = {
                "trafficPercent": percent,
                "predictor": {
                    "name": name,
                    # The CRD wants modelFormat and the container's name; the rest is the stable's.
                    "model": {
                        "modelFormat": predictor(found)["model"]["modelFormat"],
                        "name": CONTAINER,
                        "storageUri": address,
                    },
                },
            }
            found = self._applied(
                found,
                self._spec(found, stable, canary=[entry]),
                _canary_at(name, percent),
                f"the canary at {percent} %",
            )
            self._watched(percent, found, f"{self._service.name}-{name}-predictor-.*")
        return self._applied(
            found,
            self._spec(found, address, name=name),
            lambda now: is_ready(now) and not now["status"].get("canaryStatuses"),
            "the promoted canary",
        )

    def _without_canary(self, found: Object) -> Object:
        """Take our canary out: first its traffic, then its pods."""
        entries = found["spec"].get("canary")
        if not entries:
            return found
        stable = str(address_of(predictor(found)))
        silent = [{**entry, "trafficPercent": 0} for entry in entries]
        found = self._applied(
            found,
            self._spec(found, stable, canary=silent),
            lambda now: all(
                each["trafficPercent"] == 0 for each in now["status"].get("canaryStatuses", [])
            ),
            "taking the canary's traffic away",
        )
        return self._applied(
            found,
            self._spec(found, stable),
            lambda now: not now["status"].get("canaryStatuses"),
            "taking the canary away",
        )

    def _spec(
        self,
        found: Object,
        address: str,
        *,
        name: str | None = None,
        canary: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """What we claim. A name that a canary of ours brought must stay claimed: a spec without
        it would rename the Deployment, and delete the one that answers."""
        if name is None and self._service.owns(found, "spec", "predictor", "name"):
            name = predictor(found).get("name")
        spec: dict[str, Any] = {"predictor": {"model": {"storageUri": address}}}
        if name is not None:
            spec["predictor"]["name"] = name
        if canary is not None:
            spec["canary"] = canary
        return spec


def _canary_at(name: str, percent: int) -> Callable[[Object], bool]:
    def done(found: Object) -> bool:
        return any(
            each["name"] == name and each["ready"] and each["trafficPercent"] == percent
            for each in found.get("status", {}).get("canaryStatuses", [])
        )

    return done


def _rolled_out(before: Object, address: str) -> Callable[[Object], bool]:
    """Ready, and not of old pods: while a Deployment replaces them, Ready stays True, and the
    reason of PredictorReady is that of the Deployment's Available (MinimumReplicasAvailable)."""
    moved = address_of(predictor(before)) != address
    observed = before.get("status", {}).get("observedGeneration")

    def done(found: Object) -> bool:
        fresh = not moved or found.get("status", {}).get("observedGeneration") != observed
        settled = condition(found, "PredictorReady").get("reason") != "MinimumReplicasAvailable"
        return fresh and settled and is_ready(found)

    return done
