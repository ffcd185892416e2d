"""KFP ports of finetune_model."""

from kfp import dsl
from kfp.dsl import Metrics, Output

from components.images import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def finetune_model(
    store: str, tokenized: str, base_model: str, settings: dict, metrics: Output[Metrics]
) -> str:
    """Fine-tune the base model on the tokenized rows.

    Args:
        store: S3 address under which everything lies.
        tokenized: S3 address of the tokenized dataset.
        base_model: S3 address of the base model.
        settings: TrainingSettings.
        metrics: Last losses and scores, seconds, rows and tokens a second, MFU on a GPU.

    Returns:
        S3 address of the fine-tuned model.
    """
    from components.console import step
    from components.finetune_model.finetuning import finetune
    from components.finetune_model.settings import TrainingSettings
    from components.folders import existing

    with step("finetune_model"):
        model = finetune(store, tokenized, base_model, TrainingSettings.model_validate(settings))
        for name, value in existing(model)["summary"].items():
            metrics.log_metric(name, value)
        return model
