"""Promote and roll back: release, append to the log, roll out; each can be run again."""

from typing import Any

from components import promotions, storage
from components.console import say
from components.promote_model.release import release
from components.promote_model.settings import PromotionSettings
from components.promote_model.targets.base import endpoint
from components.promotions import Promotion
from serving.errors import InputError

STEP = "promote_model"


def promote(store: str, name: str, run: str, settings: PromotionSettings) -> str:
    """Make the candidate of a run the champion, as its verdict allows; returns the endpoint.

    Safe to repeat after a kill at any point: the release and the event are each created once.
    Raises InputError when the verdict did not accept the candidate, or another promotion came in
    between.
    """
    verdict: dict[str, Any] | None = storage.read_json(f"{store}/runs/{run}/verdict.json")
    if verdict is None or verdict["decision"] == "rejected":
        raise InputError(
            f"run {run} has {'no' if verdict is None else 'a rejecting'} verdict, so there is "
            "nothing to promote. Only what the gate accepted is promoted."
        )
    version = verdict["candidate"]
    champion = promotions.champion(store, name)
    if champion is None or champion.version != version:
        release(store, name, verdict["model"], verdict)
        against = verdict["champion"]
        if (against and against["number"]) != (champion and champion.number):
            raise InputError(
                f"the champion of {name} changed since the gate of run {run} judged. Run again: "
                "the candidate must be compared with the new champion."
            )
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
    return roll_out(store, name, settings)


def rollback(
    store: str, name: str, settings: PromotionSettings, to: str | None = None
) -> Promotion:
    """Bring back the version before the champion, or the version `to`, and roll it out.

    Raises InputError when there is none, or `to` was never released.
    """
    events = promotions.history(store, name)
    version = to or promotions.predecessor(events)
    if version is None or not events:
        raise InputError(
            f"{name} has no earlier champion to roll back to ({len(events)} promotion(s) in its "
            "log). `finegate history` lists what there was."
        )
    if promotions.release(store, name, version) is None:
        raise InputError(
            f"{name} has no release {version}. Choose a version that `finegate history` lists."
        )
    if version == events[-1].version:
        raise InputError(f"{version} is the champion of {name} already; nothing to roll back.")
    event = promotions.append(
        store,
        name,
        events[-1],
        action="rollback",
        version=version,
        run="",
        reason=f"rolled back from {events[-1].version}",
    )
    roll_out(store, name, settings)
    return event


def roll_out(store: str, name: str, settings: PromotionSettings) -> str:
    """Make the champion answer at the target; returns where it does."""
    champion = promotions.champion(store, name)
    if champion is None:
        raise InputError(f"{name} has no champion: nothing was promoted yet.")
    document = promotions.release(store, name, champion.version)
    if document is None:
        raise RuntimeError(f"champion {champion.version} of {name} has no release")
    uri = promotions.release_uri(store, name, champion.version)
    return endpoint(settings.target).roll_out(name, uri, document)
