"""Promote a run's candidate: release, append to the log, roll out, or go back; safe to repeat."""

from typing import Any

from components import promotions, storage
from components.console import say
from components.promote_model.approval import approved
from components.promote_model.release import release
from components.promote_model.rollout import ChampionFailedError, roll_out, roll_out_or_explain
from components.promote_model.settings import PromotionSettings
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
    except ChampionFailedError as error:
        if error.event.version == version:
            raise _gone_back(store, name, run, error, settings) from error
        # Whoever made that one champion goes back from it.
        raise InputError(
            f"{version} was promoted, and {error.event.version} became the champion of {name} "
            f"while it was rolled out (promotion {error.event.number}: {error.event.reason}); that "
            f"failed at the target: {error}. `finegate history {name}` tells what answers now."
        ) from error
    if event.version != version:
        raise InputError(
            f"{version} was promoted, and {event.version} became the champion of {name} while it "
            f"was rolled out (promotion {event.number}: {event.reason})."
        )
    return url


def _gone_back(
    store: str, name: str, run: str, why: ChampionFailedError, settings: PromotionSettings
) -> InputError:
    """Put the version before the one that failed back, in the log and then at the target.

    Where another event followed the failed one meanwhile, that stays and is what answers.
    """
    failed = why.event
    version = promotions.predecessor(promotions.history(store, name)[: failed.number])
    if version is None:
        return InputError(
            f"{name} {failed.version} did not come up: {why}. It has no predecessor to go back to; "
            "mend the target and run again."
        )
    reason = f"{failed.version} failed at the target, {version} is back: {why}"
    try:
        promotions.append(
            store, name, failed, action="rollback", version=version, run=run, reason=reason
        )
    except InputError:
        newer = promotions.champion(store, name)
        if newer is None or newer == failed:
            raise
        roll_out_or_explain(store, name, settings)
        return InputError(
            f"{failed.version} failed at the target: {why}. Nothing was rolled back, as "
            f"{newer.version} became the champion of {name} meanwhile (promotion {newer.number}: "
            f"{newer.reason}); run the pipeline again for a new comparison."
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
