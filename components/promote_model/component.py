"""KFP ports of promote_model."""

from kfp import dsl

from components.images import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def promote_model(store: str, name: str, run: str, job: str, settings: dict) -> str:
    """Release the accepted candidate and make it answer.

    Args:
        store: S3 address under which everything lies.
        name: Name of the model.
        run: Id of the run, or '' for that of the KFP run, whose verdict allows the promotion.
        job: Id of the KFP run.
        settings: PromotionSettings.

    Returns:
        Where the champion answers.
    """
    from components.console import step
    from components.promote_model.promotion import promote
    from components.promote_model.settings import PromotionSettings

    with step("promote_model"):
        return promote(store, name, run or job, PromotionSettings.model_validate(settings))
