"""The model to train: a pretrained encoder with a new head, or an architecture from scratch."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from serving.errors import InputError


def build(folder: Path, labels: list[str], tokenizer: Tokenizer) -> PreTrainedModel:
    """A `*ForSequenceClassification` with one output a label, named in its config.

    The head ends in logits: the loss applies log-softmax to them itself, and serving applies
    softmax once. A Softmax layer inside the model would be applied twice and flatten gradients.
    Raises InputError when the folder's weights do not belong to the architecture it names.
    """
    config = AutoConfig.from_pretrained(
        str(folder),
        local_files_only=True,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="single_label_classification",
    )
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    model: PreTrainedModel
    if not any(folder.glob("*.safetensors")):
        config.vocab_size = len(tokenizer)
        config.pad_token_id = tokenizer.pad_token_id
        model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    else:
        model = _pretrained(folder, config)
    # BertForSequenceClassification takes **kwargs but ignores num_items_in_batch; the Trainer
    # believes it used it, and reports losses and gradients multiplied by processes.
    model.accepts_loss_kwargs = False  # type: ignore[assignment]
    return model


def _pretrained(folder: Path, config: Any) -> PreTrainedModel:
    loaded: tuple[PreTrainedModel, dict[str, Any]] = (
        AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            config=config,
            local_files_only=True,
            dtype="float32",
            ignore_mismatched_sizes=True,  # a head for other labels is replaced
            output_loading_info=True,
        )
    )
    model, info = loaded
    body = f"{model.base_model_prefix}."
    absent = [
        name for name in info["missing_keys"] if name.startswith(body) and "pooler" not in name
    ]
    if absent:
        raise InputError(
            f"the base model's weights lack {len(absent)} of the {config.model_type} encoder's "
            f"tensors ({absent[0]}, ...), which would start random. Its config.json and its "
            "weights belong to different models; choose another base model."
        )
    return model
