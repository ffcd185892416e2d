"""What a target is: it makes one release answer."""

from typing import Any, Protocol

from components.promote_model.settings import KServeTarget, LocalTarget, LogOnly
from serving.errors import InputError


class RolloutFailedError(InputError):
    """The release did not prove itself at the target. The message says why, as one clause."""


class Endpoint(Protocol):
    """A place where a release answers requests."""

    def roll_out(self, name: str, uri: str, release: dict[str, Any], *, carefully: bool) -> str:
        """Make the release at the S3 address `uri` answer for `name`; returns where it does.

        Returns once it answers. Doing it again changes nothing, and takes up a rollout that was
        interrupted. `carefully` goes by the target's canary steps, if it has any; a rollback does
        not. Raises RolloutFailedError when the release does not come up or does not answer what
        was measured, and InputError when the target refuses or cannot be reached.
        """


def endpoint(target: LocalTarget | KServeTarget | LogOnly) -> Endpoint:
    """The endpoint that the settings describe."""
    if isinstance(target, LocalTarget):
        from components.promote_model.targets.local import LocalEndpoint

        return LocalEndpoint(target)
    if isinstance(target, KServeTarget):
        from components.promote_model.targets.kserve import KServeEndpoint

        return KServeEndpoint(target)
    return _NoEndpoint()


class _NoEndpoint:
    def roll_out(self, name: str, uri: str, release: dict[str, Any], *, carefully: bool) -> str:
        return uri
