"""Promote a run's candidate: release, append to the log, roll out, or go back; safe to repeat."""

from typing import Any

from components import promotions, storage
from components.console import say
from components.promote_model.approval import approved
from components.promote_model.release import release
from components.promote_model.rollout import roll_out, roll_out_or_explain
from components.promote_model.settings import PromotionSettings
from components.promote_model.targets.base import RolloutFailedError
from components.promotions import Promotion
from serving.errors import InputError

STEP = "promote_model"


class RolledBackError(InputError):
    """The candidate did not prove itself at the target, and the champion before is back."""


def promote(store: str, name: str, run: str, settings: PromotionSettings) -> str:
    """Make the candidate of a run the champion, as its verdict allows; returns the endpoint.

    Safe to repeat after a kill at any point: the release and the event are each created once, and
    a rollout is taken up where it stands. Changes nothing and returns '' while the verdict waits
    for approval. Raises InputError when the verdict did not accept the candidate, another promotion
    came in between, or the champion is pinned, and RolledBackError when the rollout failed.
    """
    verdict: dict[str, Any] | None = storage.read_json(f"{store}/runs/{run}/verdict.json")
    if verdict is not None and verdict["decision"] == "waiting" and not approved(store, run):
        say(STEP, f"run {run} waits for approval: finegate approve {run}")
        return ""
    if verdict is None or verdict["decision"] == "rejected":
        raise InputError(
            f"run {run} has {'no' if verdict is None else 'a rejecting'} verdict, so there is "
            "nothing to promote. Only what the gate accepted is promoted."
        )
    version = verdict["candidate"]
    events = promotions.history(store, name)
    ours = next(
        (e for e in events if (e.action, e.run, e.version) == ("promote", run, version)), None
    )
    champion = events[-1] if events else None
    if champion is None or champion.version != version:
        if ours is not None:
            _superseded(store, name, run, events[ours.number :], settings)
        if champion is not None and champion.action == "pin":
            raise InputError(
                f"{name} is pinned to {champion.version} by {champion.by} since {champion.at}: "
                f"{champion.reason}. `finegate unpin {name}` lets promotions follow again."
            )
        against = verdict["champion"]
        if (against and against["number"]) != (champion and champion.number):
            raise InputError(
                f"the champion of {name} changed since the gate of run {run} judged. Run again: "
                "the candidate must be compared with the new champion."
            )
        release(store, name, verdict["model"], verdict)
        event = promotions.append(
            store,
            name,
            champion,
            action="promote",
            version=version,
            run=run,
            reason=verdict["reason"],
        )
        say(STEP, f"{name} {version} is the champion (promotion {event.number})")
    else:
        say(STEP, f"{name} {version} is the champion already (promotion {champion.number})")
    try:
        event, url = roll_out(store, name, settings)
    except RolloutFailedError as error:
        raise _gone_back(store, name, run, str(error), settings) from error
    if event.version != version:
        raise InputError(
            f"{version} was promoted, and {event.version} became the champion of {name} while it "
            f"was rolled out (promotion {event.number}: {event.reason})."
        )
    return url


def _gone_back(
    store: str, name: str, run: str, why: str, settings: PromotionSettings
) -> InputError:
    """Put the version before the champion back, in the log and then at the target."""
    events = promotions.history(store, name)
    version = promotions.predecessor(events)
    failed = events[-1].version
    if version is None:
        return InputError(
            f"{name} {failed} did not come up: {why}. It has no predecessor to go back to; mend "
            "the target and run again."
        )
    reason = f"{failed} failed at the target, {version} is back: {why}"
    promotions.append(
        store, name, events[-1], action="rollback", version=version, run=run, reason=reason
    )
    roll_out_or_explain(store, name, settings)
    return RolledBackError(f"{reason}. The champion of {name} is {version}.")


def _superseded(
    store: str, name: str, run: str, later: list[Promotion], settings: PromotionSettings
) -> None:
    """Finish going back after a kill, and raise for a promotion that is over."""
    back = later[0]
    if back.action == "rollback" and back.run == run:
        if len(later) == 1 and not promotions.answers(store, name, back):
            roll_out_or_explain(store, name, settings)
        raise RolledBackError(f"{back.reason}. The champion of {name} is {later[-1].version}.")
    raise InputError(
        f"run {run} was promoted, and {later[-1].version} became the champion of {name} since "
        f"(promotion {later[-1].number}). `finegate history` tells why; run the pipeline again for "
        "a new comparison."
    )
