"""Promote and roll back: release, append to the log, roll out; each can be run again."""

from typing import Any

from components import promotions, storage
from components.console import say
from components.promote_model.approval import approved
from components.promote_model.release import release
from components.promote_model.settings import PromotionSettings
from components.promote_model.targets.base import RolloutFailedError, endpoint
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
    _roll_out_or_explain(store, name, settings)
    return RolledBackError(f"{reason}. The champion of {name} is {version}.")


def _superseded(
    store: str, name: str, run: str, later: list[Promotion], settings: PromotionSettings
) -> None:
    """Finish going back after a kill, and raise for a promotion that is over."""
    back = later[0]
    if back.action == "rollback" and back.run == run:
        if len(later) == 1 and not promotions.answers(store, name, back):
            _roll_out_or_explain(store, name, settings)
        raise RolledBackError(f"{back.reason}. The champion of {name} is {later[-1].version}.")
    raise InputError(
        f"run {run} was promoted, and {later[-1].version} became the champion of {name} since "
        f"(promotion {later[-1].number}). `finegate history` tells why; run the pipeline again for "
        "a new comparison."
    )


def rollback(
    store: str, name: str, settings: PromotionSettings, to: str | None = None
) -> Promotion:
    """Bring back the version before the champion, or the version `to`, and roll it out.

    A rollback that was killed before its rollout had ended is finished by the next one. Raises
    InputError when there is no such version, or `to` was never released.
    """
    events = promotions.history(store, name)
    if events and events[-1].action == "rollback" and to in (None, events[-1].version):
        unfinished = events[-1]
        if not promotions.answers(store, name, unfinished):
            say(STEP, f"finishing promotion {unfinished.number}: {unfinished.reason}")
            _roll_out_or_explain(store, name, settings)
            return unfinished
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
    _roll_out_or_explain(store, name, settings)
    return event


def pin(
    store: str, name: str, settings: PromotionSettings, to: str | None, reason: str
) -> Promotion:
    """Make `to` (unset: the champion) the champion that no promotion may follow, and roll it out.

    Raises InputError when there is no such release, or another event came in between.
    """
    current = promotions.champion(store, name)
    version = to or (current.version if current else None)
    if current is None or version is None or promotions.release(store, name, version) is None:
        raise InputError(
            f"{name} has no release {version or 'yet'}. `finegate history {name}` lists versions."
        )
    if current.action != "pin" or current.version != version:
        current = promotions.append(
            store, name, current, action="pin", version=version, run="", reason=reason
        )
    _roll_out_or_explain(store, name, settings)
    return current


def unpin(store: str, name: str) -> Promotion:
    """Let promotions follow the champion again. Raises InputError when it is not pinned."""
    current = promotions.champion(store, name)
    if current is None or current.action != "pin":
        raise InputError(f"{name} is not pinned, so promotions follow as they come.")
    return promotions.append(
        store,
        name,
        current,
        action="unpin",
        version=current.version,
        run="",
        reason="promotions may follow again",
    )


def _roll_out_or_explain(store: str, name: str, settings: PromotionSettings) -> None:
    try:
        roll_out(store, name, settings)
    except RolloutFailedError as error:
        raise InputError(
            f"the log names the champion of {name}, but its rollout failed: {error}. Mend the "
            "target and run the same command again; it goes on from there."
        ) from error


def roll_out(store: str, name: str, settings: PromotionSettings) -> tuple[Promotion, str]:
    """Make the champion answer at the target; returns its event and where it answers.

    Whoever rolls out looks at the log again afterwards, and goes on with a newer champion: of two
    that race, the one that acts last at the target thereby acts on the last event.
    """
    while True:
        champion = promotions.champion(store, name)
        if champion is None:
            raise InputError(f"{name} has no champion: nothing was promoted yet.")
        document = promotions.release(store, name, champion.version)
        if document is None:
            raise RuntimeError(f"champion {champion.version} of {name} has no release")
        uri = promotions.release_uri(store, name, champion.version)
        try:
            url = endpoint(settings.target).roll_out(
                name, uri, document, carefully=champion.action == "promote"
            )
        except RolloutFailedError:
            if promotions.champion(store, name) == champion:
                raise
            continue
        if promotions.champion(store, name) == champion:
            promotions.record_rollout(store, name, champion, url)
            return champion, url
