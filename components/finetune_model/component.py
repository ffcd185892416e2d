"""KFP ports of finetune_model."""

from kfp import dsl

from components.images import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def finetune_model(store: str, tokenized: str, base_model: str, settings: dict) -> str:
    """Fine-tune the base model on the tokenized rows.

    Args:
        store: S3 address under which everything lies.
        tokenized: S3 address of the tokenized dataset.
        base_model: S3 address of the base model.
        settings: TrainingSettings.

    Returns:
        S3 address of the fine-tuned model.
    """
    from components.console import step
    from components.finetune_model.finetuning import finetune
    from components.finetune_model.settings import TrainingSettings

    with step("finetune_model"):
        return finetune(store, tokenized, base_model, TrainingSettings.model_validate(settings))
