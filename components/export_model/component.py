"""KFP ports of export_model."""

from kfp import dsl

from components.images import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def export_model(store: str, model: str, dataset: str, settings: dict) -> str:
    """Choose the backend that serves the model, and add its files.

    Args:
        store: S3 address under which everything lies.
        model: S3 address of the fine-tuned model.
        dataset: S3 address of the validated dataset.
        settings: ExportSettings.

    Returns:
        S3 address of the model as it will be served.
    """
    from components.console import step
    from components.export_model.export import export
    from components.export_model.settings import ExportSettings

    with step("export_model"):
        return export(store, model, dataset, ExportSettings.model_validate(settings))
