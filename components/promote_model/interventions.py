"""What a person decides about the champion: roll back, pin, unpin; each can be run again."""

from components import promotions
from components.console import say
from components.promote_model.rollout import roll_out_or_explain
from components.promote_model.settings import PromotionSettings
from components.promotions import Promotion
from serving.errors import InputError

STEP = "promote_model"


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
            roll_out_or_explain(store, name, settings)
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
    roll_out_or_explain(store, name, settings)
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
    roll_out_or_explain(store, name, settings)
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
