"""What an InferenceService's status proves, and what both modes' rollouts share."""

from collections.abc import Callable
from typing import Any

from components.promote_model.targets.base import RolloutFailedError
from components.promote_model.targets.canary import Judge
from components.promote_model.targets.inference_service import InferenceService, Object
from serving.errors import InputError


class Rollout:
    """Applies, then waits until the status speaks of what was applied and says that it is done."""

    def __init__(self, service: InferenceService, seconds: float, judge: Judge | None) -> None:
        self._service, self._seconds, self._judge = service, seconds, judge

    def _applied(
        self, before: Object, spec: dict[str, Any], done: Callable[[Object], bool], what: str
    ) -> Object:
        """Apply `spec` and wait for `done`; returns the object then."""
        applied = self._service.apply(spec)
        # KServe's observedGeneration is that of the Deployment or of the Knative service below
        # (PropagateRawStatus, PropagateStatus), never the InferenceService's own: it can be
        # compared with what it was, not with metadata.generation.
        changed = applied["metadata"]["generation"] != before["metadata"]["generation"]
        seen = before.get("status", {})

        def finished(found: Object) -> bool:
            status = found.get("status", {})
            _raise_if_blocked(status, seen if changed else {})
            return done(found)

        settled = self._service.wait(finished, self._seconds)
        if settled is None:
            raise RolloutFailedError(f"{what} was not ready within {self._seconds:g} s")
        return settled

    def _watched(self, percent: int, settled: Object, pods: str) -> None:
        """Watch a canary's step for the pause, then judge it at the service's URL."""
        assert self._judge is not None
        if self._judge.rules.pause:
            self._service.wait(
                lambda found: _raise_if_blocked(found.get("status", {}), settled["status"]),
                self._judge.rules.pause,
            )
        url = settled.get("status", {}).get("url")
        if not url:
            raise InputError(
                f"{self._service.title} tells no URL, so its canary cannot be asked. Mend its "
                "ingress, or take canary out of the target."
            )
        self._judge.judge(url, percent, pods)


def condition(found: Object, name: str) -> dict[str, str]:
    """The condition of that type, or an empty one."""
    for each in found.get("status", {}).get("conditions", []):
        if each["type"] == name:
            return dict(each)
    return {}


def is_ready(found: Object) -> bool:
    """The condition Ready, as far as it goes: it stays True while pods are replaced."""
    return condition(found, "Ready").get("status") == "True"


def predictor(found: Object) -> dict[str, Any]:
    """The predictor's spec."""
    spec: dict[str, Any] = found["spec"]["predictor"]
    return spec


def address_of(predictor: dict[str, Any]) -> str | None:
    """A predictor's model address."""
    uri: str | None = predictor.get("model", {}).get("storageUri")
    return uri


def _raise_if_blocked(status: dict[str, Any], before: dict[str, Any]) -> bool:
    """Raise RolloutFailedError for a model that KServe gave up on; else False.

    A failure that stood there `before` is not this model's.
    """
    model = status.get("modelStatus", {})
    if model.get("transitionStatus") in ("BlockedByFailedLoad", "InvalidSpec") and (
        model != before.get("modelStatus")
    ):
        failure = model.get("lastFailureInfo", {})
        said = " ".join(f"{failure.get('reason', '')} {failure.get('message', '')}".split())
        raise RolloutFailedError(f"the cluster could not load it: {said or 'no reason given'}")
    return False
