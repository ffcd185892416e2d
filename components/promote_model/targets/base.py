"""What a target is: it makes one release answer."""

from typing import Any, Protocol

from components.promote_model.settings import KServeTarget, LocalTarget, LogOnly


class Endpoint(Protocol):
    """A place where a release answers requests."""

    def roll_out(self, name: str, uri: str, release: dict[str, Any]) -> str:
        """Make the release at the S3 address `uri` answer for `name`; returns where it does.

        Returns once it answers. Doing it again changes nothing. Raises InputError when it does
        not come up; what answered before goes on answering.
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
    def roll_out(self, name: str, uri: str, release: dict[str, Any]) -> str:
        return uri
