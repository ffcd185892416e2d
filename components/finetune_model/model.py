"""The model to train: a pretrained body with a new head, or an architecture from scratch."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_model
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    set_seed,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from components.finetune_model.job import Job
from components.finetune_model.settings import TrainingSettings
from components.problem_types import ProblemType
from serving.errors import InputError

ADAPTERS = "adapter_model.safetensors"


def write_initial(work: Path, job: Job) -> None:
    """Write `work/initial`: the model that every process starts from, its new head drawn.

    Drawn once, because ZeRO-3 would draw it otherwise than the other stages, and LoRA adapters
    need the weights that they were trained on.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(work / "tokenized" / "tokenizer"))
    set_seed(job.settings.seed)
    model = build(work / "base-model", job.labels, tokenizer, job.problem)
    choose_head(model, job.settings)
    freeze(model, job.settings)  # refuses now what would be refused on every process
    if job.settings.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise InputError(
            f"training.gradient_checkpointing is on, and transformers has none for a "
            f"{model.config.model_type}. Turn it off; less training.rows_per_device takes less "
            "memory too."
        )
    # save_pretrained would write on the first machine alone, whatever it is asked.
    model.config.architectures = [type(model).__name__]
    model.config.dtype = "float32"
    model.config.save_pretrained(str(work / "initial"))
    save_model(model, str(work / "initial" / "model.safetensors"), {"format": "pt"})


def load_initial(work: Path, settings: TrainingSettings) -> PreTrainedModel:
    """The model to train, with frozen layers and adapters as the settings say."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        str(work / "initial"), local_files_only=True, dtype="float32"
    )
    freeze(model, settings)
    if settings.lora is not None:
        from peft import LoraConfig, TaskType, get_peft_model

        head = [name for name, _ in model.named_children() if name != model.base_model_prefix]
        model = get_peft_model(
            model,
            LoraConfig(
                task_type=TaskType.SEQ_CLS,
                r=settings.lora.rank,
                lora_alpha=settings.lora.alpha,
                lora_dropout=settings.lora.dropout,
                target_modules="all-linear",
                exclude_modules=rf"({'|'.join(head)})(\..*)?",  # the head is trained in full
                modules_to_save=[name for name in head if _has_weights(model, name)],
            ),
            autocast_adapter_dtype=False,  # ZeRO-3 takes weights of one number format alone
        )
        if settings.gradient_checkpointing:
            model.enable_input_require_grads()
    # BertForSequenceClassification takes **kwargs but ignores num_items_in_batch; the Trainer
    # believes it used it, and reports losses and gradients multiplied by processes.
    model.accepts_loss_kwargs = False
    return model  # type: ignore[no-any-return]  # transformers' from_pretrained is untyped


def _has_weights(model: nn.Module, name: str) -> bool:
    return next(model.get_submodule(name).parameters(), None) is not None


def read_whole(best: Path, initial: Path) -> PreTrainedModel:
    """The trained model in fp32, adapters merged; raises InputError when weights are absent."""
    adapters = (best / "adapter_config.json").is_file()
    model, info = AutoModelForSequenceClassification.from_pretrained(
        str(initial if adapters else best),
        local_files_only=True,
        dtype="float32",
        output_loading_info=True,
    )
    absent = set(map(str, info["missing_keys"]))
    if adapters:
        from peft import (
            PeftConfig,
            get_peft_model,
            get_peft_model_state_dict,
            set_peft_model_state_dict,
        )

        model = get_peft_model(model, PeftConfig.from_pretrained(str(best)))
        trained = load_file(best / ADAPTERS)
        absent |= get_peft_model_state_dict(model).keys() - trained.keys()
    if absent:
        raise InputError(
            f"the trained weights lack {', '.join(sorted(absent)[:3])}: under this ZeRO stage they "
            "could not be gathered, and would be loaded with random values. Use a lower "
            "training.zero_stage."
        )
    if adapters:
        set_peft_model_state_dict(model, trained)
        model = model.merge_and_unload()
    return model  # type: ignore[no-any-return]  # transformers' from_pretrained is untyped


def build(
    folder: Path,
    labels: list[str],
    tokenizer: Tokenizer,
    problem: ProblemType = "single_label_classification",
) -> PreTrainedModel:
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
        problem_type=problem,
    )
    # Rows are padded with it, and decoders find a text's last token by it.
    if tokenizer.pad_token_id is not None:
        config.pad_token_id = tokenizer.pad_token_id
    if not any(folder.glob("*.safetensors")):
        config.vocab_size = len(tokenizer)
        for name in ("bos_token_id", "eos_token_id"):
            setattr(config, name, getattr(tokenizer, name))
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
        return model
    return _pretrained(folder, config)


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


_HIDDEN_LAYERS = (
    "bert.pooler.dense",
    "albert.pooler",
    "classifier.dense",
    "pre_classifier",
    "pooler.dense",
    "deberta.pooler.dense",
    "head.dense",
)
"""Where transformers' classifiers keep the layer before the last one."""


def choose_head(model: PreTrainedModel, settings: TrainingSettings) -> None:
    """Start the head anew as `settings.head` says; raises InputError where there is no such head.

    Only heads that the architecture's own class has reload with plain transformers.
    """
    if settings.head is None:
        return
    hidden = next((model.get_submodule(name) for name in _HIDDEN_LAYERS if _has(model, name)), None)
    kind = model.config.model_type
    pooled = any(_has(model, name) for name in _HIDDEN_LAYERS[:2])
    if settings.head == "mlp":
        if not isinstance(hidden, nn.Linear):
            raise InputError(
                f"training.head is mlp, but transformers' {kind} classifier has one linear layer "
                "after its body. Set training.head to linear."
            )
        _start_anew(model, hidden)
    elif hidden is not None and not pooled:
        raise InputError(
            f"training.head is linear, but transformers' {kind} classifier always has a hidden "
            "layer that the base model does not bring. Set training.head to mlp."
        )
    body = f"{model.base_model_prefix}."
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    _start_anew(model, [layers[name] for name in layers if not name.startswith(body)][-1])


def _start_anew(model: PreTrainedModel, layer: nn.Linear) -> None:
    # Marked as read from a file, a weight would be left as it is.
    for weight in layer.parameters():
        weight._is_hf_initialized = False  # type: ignore[attr-defined]  # transformers' own mark
    model._init_weights(layer)


def _has(model: PreTrainedModel, name: str) -> bool:
    return name in dict(model.named_modules())


def freeze(model: PreTrainedModel, settings: TrainingSettings) -> None:
    """Freeze embeddings and the first `frozen_layers` layers; raises InputError for too many."""
    if not settings.frozen_layers:
        return
    stacks = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    if not stacks:
        raise InputError(f"a {model.config.model_type} model has no stack of layers to freeze.")
    name, stack = max(stacks.items(), key=lambda item: len(item[1]))
    if settings.frozen_layers > len(stack):
        raise InputError(
            f"training.frozen_layers is {settings.frozen_layers}, but this "
            f"{model.config.model_type} model has {len(stack)} layers of its own (ALBERT shares "
            "one among all). Lower it."
        )
    frozen = tuple(f"{name}.{index}." for index in range(settings.frozen_layers))
    in_stack = False
    for parameter_name, weight in model.named_parameters():
        in_stack = in_stack or parameter_name.startswith(f"{name}.")
        weight.requires_grad = in_stack and not parameter_name.startswith(frozen)
