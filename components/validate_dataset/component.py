"""KFP ports of validate_dataset."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def validate_dataset(store: str, dataset: str, settings: dict) -> str:
    """Repair a dataset by rule and cut its splits.

    Args:
        store: S3 address under which everything lies.
        dataset: S3 address of the downloaded dataset.
        settings: ValidationSettings.

    Returns:
        S3 address of the validated dataset.
    """
    from components.console import step
    from components.validate_dataset.dataset import validate
    from components.validate_dataset.settings import ValidationSettings

    with step("validate_dataset"):
        return validate(store, dataset, ValidationSettings.model_validate(settings))
