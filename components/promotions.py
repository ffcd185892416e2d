"""The promotion log: append-only, one object an event; the highest number is the champion.

`models/<name>/promotions/000007.json`. There is no mutable pointer: each event is created with a
conditional write, so two promotions that race cannot both be number 7.
"""

import getpass
import re
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from components import storage
from components.folders import Manifest, manifest_of
from serving.errors import InputError

RELEASE = "release.json"

Action = Literal["promote", "rollback", "pin", "unpin"]
"""`pin` keeps the version champion until `unpin` or a rollback: no promotion follows it."""


class Promotion(BaseModel):
    """One event of the log."""

    model_config = ConfigDict(frozen=True)

    number: int
    action: Action
    version: str
    run: str
    reason: str
    by: str
    at: str
    """UTC, ISO 8601."""

    @property
    def rolls_out(self) -> bool:
        """Whether its version is brought to the target: to unpin leaves there what answers."""
        return self.action != "unpin"


def model_uri(store: str, name: str) -> str:
    """Where a model's releases and its promotion log lie; raises InputError for a bad name."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise InputError(
            f"{name!r} is not a model name: it also names the endpoint, so it takes lower-case "
            "letters, digits and hyphens only, 63 at most (a DNS label)."
        )
    return f"{store}/models/{name}"


def release_uri(store: str, name: str, version: str) -> str:
    """Where a version's release lies."""
    return f"{model_uri(store, name)}/{version}"


def release(store: str, name: str, version: str) -> Manifest | None:
    """The release document of a version, or None when it was never (completely) released."""
    return manifest_of(release_uri(store, name, version), RELEASE)


def existing_release(store: str, name: str, version: str) -> Manifest:
    """The release document of a version that the log names; raises InputError when it is gone."""
    document = release(store, name, version)
    if document is None:
        raise InputError(
            f"the champion of {name} is {version}, and {release_uri(store, name, version)}/ holds "
            f"no whole release: it was deleted or never finished. Restore that folder, or move on "
            f"with `finegate rollback {name} --to VERSION`; `finegate history {name}` lists them."
        )
    return document


def history(store: str, name: str) -> list[Promotion]:
    """All events, oldest first."""
    return [Promotion.model_validate(storage.read_json(uri)) for uri in _events(store, name)]


def champion(store: str, name: str) -> Promotion | None:
    """The newest event: its version is what answers. None before the first promotion."""
    events = _events(store, name)
    return Promotion.model_validate(storage.read_json(events[-1])) if events else None


def since(store: str, name: str) -> str:
    """When the champion's version became champion; '' before the first promotion.

    Later events of the same version, as pins are, do not make it younger.
    """
    version = at = ""
    for uri in reversed(_events(store, name)):
        event = Promotion.model_validate(storage.read_json(uri))
        if version not in ("", event.version):
            break
        version, at = event.version, event.at
    return at


def _events(store: str, name: str) -> list[str]:
    """Addresses of the events, oldest first."""
    log = f"{model_uri(store, name)}/promotions"
    keys = storage.list_keys(log)
    return [f"{log}/{key}" for key in keys if re.fullmatch(r"\d{6}\.json", key)]


def append(
    store: str,
    name: str,
    after: Promotion | None,
    *,
    action: Action,
    version: str,
    run: str,
    reason: str,
) -> Promotion:
    """Append the event that follows `after`, the champion that the decision was made against.

    Raises InputError when another event took that number meanwhile: the decision was made against
    a champion that no longer is one, and must be made again.
    """
    event = Promotion(
        number=after.number + 1 if after else 1,
        action=action,
        version=version,
        run=run,
        reason=reason,
        by=getpass.getuser(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    uri = f"{model_uri(store, name)}/promotions/{event.number:06d}.json"
    if not storage.create_json(uri, event.model_dump()):
        raise InputError(
            f"another promotion of {name} became number {event.number} while this one was decided. "
            "Run again: the candidate must be compared with the new champion."
        )
    return event


def answers(store: str, name: str, event: Promotion) -> bool:
    """True once the rollout of this event, if it has one, has ended: its version answers."""
    return not event.rolls_out or storage.read_json(_rollout_uri(store, name, event)) is not None


def record_rollout(store: str, name: str, event: Promotion, url: str) -> None:
    """Record that the rollout of this event has ended, and where its version answers.

    A rollback that was killed half-way is thereby told from one that is done, so that running it
    again finishes it instead of going one version further back.
    """
    storage.create_json(
        _rollout_uri(store, name, event),
        {
            "number": event.number,
            "version": event.version,
            "url": url,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _rollout_uri(store: str, name: str, event: Promotion) -> str:
    return f"{model_uri(store, name)}/rollouts/{event.number:06d}.json"


def predecessor(events: list[Promotion]) -> str | None:
    """The version that a rollback brings back: what answered before the present champion came.

    A rollback undoes promotions instead of adding one, so a second rollback goes one further back.
    """
    stack: list[str] = []
    for event in events:
        if event.action == "rollback" and event.version in stack:
            while stack[-1] != event.version:
                stack.pop()
        elif not stack or stack[-1] != event.version:
            stack.append(event.version)
    return stack[-2] if len(stack) > 1 else None
