"""KFP ports of download_dataset."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def download_dataset(store: str, settings: dict) -> str:
    """Bring a labelled text dataset to S3.

    Args:
        store: S3 address under which everything lies.
        settings: DatasetSettings.

    Returns:
        S3 address of the dataset.
    """
    from components.console import step
    from components.download_dataset.dataset import download
    from components.download_dataset.settings import DatasetSettings

    with step("download_dataset"):
        return download(store, DatasetSettings.model_validate(settings))
