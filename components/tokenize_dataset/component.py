"""KFP ports of tokenize_dataset."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def tokenize_dataset(store: str, dataset: str, base_model: str, settings: dict) -> str:
    """Encode the training and validation texts.

    Args:
        store: S3 address under which everything lies.
        dataset: S3 address of the validated dataset.
        base_model: S3 address of the base model.
        settings: TokenizationSettings.

    Returns:
        S3 address of the tokenized dataset.
    """
    from components.console import step
    from components.tokenize_dataset.settings import TokenizationSettings
    from components.tokenize_dataset.tokens import tokenize

    with step("tokenize_dataset"):
        return tokenize(store, dataset, base_model, TokenizationSettings.model_validate(settings))
