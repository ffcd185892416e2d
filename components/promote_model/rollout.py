"""Making the champion answer at the target, whoever changed the log."""

from components import promotions
from components.promote_model.settings import PromotionSettings
from components.promote_model.targets.base import RolloutFailedError, endpoint
from components.promotions import Promotion
from serving.errors import InputError


class ChampionFailedError(InputError):
    """The rollout of an event failed; the message is the target's, one clause."""

    def __init__(self, event: Promotion, why: RolloutFailedError) -> None:
        super().__init__(str(why))
        self.event = event


def roll_out(store: str, name: str, settings: PromotionSettings) -> tuple[Promotion, str]:
    """Make the champion answer at the target; returns its event and where it answers.

    Whoever rolls out looks at the log again afterwards, and goes on with a newer champion: of two
    that race, the one that acts last at the target thereby acts on the last event. Raises
    ChampionFailedError when the champion does not prove itself there.
    """
    while True:
        champion = promotions.champion(store, name)
        if champion is None:
            raise InputError(f"{name} has no champion: nothing was promoted yet.")
        document = promotions.existing_release(store, name, champion.version)
        uri = promotions.release_uri(store, name, champion.version)
        try:
            url = endpoint(settings.target).roll_out(
                name, uri, document, carefully=champion.action == "promote"
            )
        except RolloutFailedError as error:
            if promotions.champion(store, name) == champion:
                raise ChampionFailedError(champion, error) from error
            continue
        if promotions.champion(store, name) == champion:
            promotions.record_rollout(store, name, champion, url)
            return champion, url


def roll_out_or_explain(store: str, name: str, settings: PromotionSettings) -> None:
    """`roll_out` after an event that stays; raises InputError with the way on when it fails."""
    try:
        roll_out(store, name, settings)
    except ChampionFailedError as error:
        raise InputError(
            f"the log names the champion of {name}, but its rollout failed: {error}. Mend the "
            "target and run the same command again; it goes on from there."
        ) from error
