"""KFP ports of download_model."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def download_model(store: str, settings: dict) -> str:
    """Bring the base model to S3.

    Args:
        store: S3 address under which everything lies.
        settings: ModelSettings.

    Returns:
        S3 address of the base model.
    """
    from components.console import step
    from components.download_model.model import download
    from components.download_model.settings import ModelSettings

    with step("download_model"):
        return download(store, ModelSettings.model_validate(settings))
