"""KFP ports of validate_dataset."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Output

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def validate_dataset(
    store: str, dataset: str, name: str, settings: dict, page: Output[HTML]
) -> NamedTuple("Validated", [("dataset", str), ("drift", str)]):  # type: ignore[valid-type]  # kfp's form
    """Repair a dataset by rule, cut its splits, and compare it with the champion's.

    Args:
        store: S3 address under which everything lies.
        dataset: S3 address of the downloaded dataset.
        name: Name of the model, whose champion's dataset is compared.
        settings: ValidationSettings.
        page: What was found.

    Returns:
        dataset: S3 address of the validated dataset.
        drift: S3 address of the comparison, or ''.
    """
    from pathlib import Path

    from components import folders, storage
    from components.console import step
    from components.validate_dataset.champion import Validated, compare
    from components.validate_dataset.dataset import validate
    from components.validate_dataset.page import page as page_of
    from components.validate_dataset.settings import ValidationSettings

    with step("validate_dataset"):
        rules = ValidationSettings.model_validate(settings)
        validated = validate(store, dataset, rules)
        drift = compare(store, name, validated, rules.drift)
        document = storage.read_json(drift) if drift else None
        Path(page.path).write_bytes(page_of(folders.existing(validated), document))
        return Validated(validated, drift)
