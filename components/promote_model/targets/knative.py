"""Knative mode: revisions; a canary is `canaryTrafficPercent` on the newest of them.

Read from KServe 0.21's source (ksvc_reconciler.go): with a percentage P the newest ready revision
gets P and the last one that ever had 100 gets the rest; without one the newest ready revision gets
all. So the way back is not to apply the old address alone: until its revision is ready, the
newest ready one is the bad one, and would get all traffic. At 0 % the old revision is pinned.
"""

from collections.abc import Callable
from typing import Any

from components.promote_model.targets.inference_service import Object
from components.promote_model.targets.progress import Rollout, address_of, is_ready, predictor


class KnativeRollout(Rollout):
    """Brings a service of revisions to one release."""

    def to(self, found: Object, address: str, version: str) -> Object:
        """Serve `address` alone, from whatever stands in the spec."""
        percent: int | None = predictor(found).get("canaryTrafficPercent")
        serving = address_of(predictor(found))
        if serving == address and percent:
            found = self._by_canary(found, address, percent)
        elif (serving != address and percent is not None) or percent == 0:
            found = self._back(found, address)
        elif serving not in (address, None) and self._judge is not None:
            found = self._by_canary(found, address, 0)
        return self._applied(
            found, _spec(address), _arrived(found, address, 100), "the new version"
        )

    def _by_canary(self, found: Object, address: str, reached: int) -> Object:
        if self._judge is None:
            return found
        for percent in self._judge.rules.steps:
            if percent < reached:
                continue
            found = self._applied(
                found,
                _spec(address, percent),
                _arrived(found, address, percent),
                f"the canary at {percent} %",
            )
            revision = _revisions(found)["latestReadyRevision"]
            self._watched(percent, found, f"{revision}-deployment-.*")
        return found

    def _back(self, found: Object, address: str) -> Object:
        """Pin the last good revision with all traffic until one of `address` is ready."""
        return self._applied(
            found, _spec(address, 0), _arrived(found, address, 0), "the version to go back to"
        )


def _spec(address: str, percent: int | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"model": {"storageUri": address}}
    if percent is not None:
        spec["canaryTrafficPercent"] = percent
    return {"predictor": spec}


def _revisions(found: Object) -> dict[str, Any]:
    components = found.get("status", {}).get("components", {})
    revisions: dict[str, Any] = components.get("predictor", {})
    return revisions


def _arrived(before: Object, address: str, percent: int) -> Callable[[Object], bool]:
    """Is the revision of `address` the newest and ready, with this share of the traffic?

    An address that the spec did not have `before` makes a revision that was not there either.
    """
    moved = address_of(predictor(before)) != address
    created = _revisions(before).get("latestCreatedRevision")

    def done(found: Object) -> bool:
        revisions = _revisions(found)
        traffic = revisions.get("traffic", [])
        newest = sum(each.get("percent", 0) for each in traffic if each.get("latestRevision"))
        return (
            is_ready(found)
            and revisions.get("latestReadyRevision") == revisions.get("latestCreatedRevision")
            and not (moved and created and revisions.get("latestCreatedRevision") == created)
            and (newest == percent or not traffic)
        )

    return done
