"""One process of the training: Trainer under DeepSpeed, from token ids to a Hugging Face folder."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from components.finetune_model.curves import Curves
from components.finetune_model.deepspeed_config import deepspeed_config
from components.finetune_model.hardware import bf16_available, rows_and_accumulation
from components.finetune_model.model import build
from components.finetune_model.settings import TrainingSettings


def train(work: Path, settings: TrainingSettings, labels: list[str]) -> None:
    """Train on `work/tokenized` from `work/base-model`; write `work/output` and curves.

    Call it in each process that torchrun started. The weights are saved in fp32, whatever the
    training's precision: transformers reloads a model in the precision that it was saved in.
    """
    import deepspeed

    # Without a compiler on PATH the shared-memory collective crashes instead of falling back.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    on_gpu = torch.cuda.is_available()
    # The order matters: process group, arguments, model. ZeRO-3 shards in from_pretrained.
    deepspeed.init_distributed("nccl" if on_gpu else "gloo")
    world_size = int(os.environ["WORLD_SIZE"])
    arguments = training_arguments(work, settings, world_size, on_gpu=on_gpu)
    tokenizer = AutoTokenizer.from_pretrained(str(work / "tokenized" / "tokenizer"))
    set_seed(settings.seed)  # the new head, or the whole model from scratch
    model = build(work / "base-model", labels, tokenizer)
    trainer = _LengthGroupedTrainer(
        model=model,
        args=arguments,
        train_dataset=_rows(work / "tokenized" / "train.parquet"),
        eval_dataset=_rows(work / "tokenized" / "validation.parquet"),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_metrics=scores,
        callbacks=[Curves(work / "training.jsonl")],
    )
    trainer.pop_callback(PrinterCallback)  # Curves speaks for the run
    trainer.train()
    if type(trainer.model_wrapped).__name__ != "DeepSpeedEngine":
        raise RuntimeError(f"trained with {type(trainer.model_wrapped)}, not with DeepSpeed")
    if trainer.is_world_process_zero():
        best = trainer.state.best_model_checkpoint
        assert best is not None  # the last step is always evaluated, and a first score is the best
        Path(best).rename(work / "output")
        as_fp32(work / "output")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _rows(shards: Path) -> Any:
    return Dataset.from_parquet(sorted(map(str, shards.glob("*.parquet"))))


LAST_STEP_ALONE = 1 << 40


class _LengthGroupedTrainer(Trainer):
    """Rows of like length share a batch: 1.3 to 2.3 times the throughput of random batches.

    The groups are global batches drawn from a seeded generator, so the same rows make up each
    optimizer step on any number of processes; the Trainer's own groups are one device's batch.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        assert isinstance(dataset, Dataset)
        world_size = int(os.environ["WORLD_SIZE"])
        batch = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(
            batch * world_size,
            lengths=pc.list_value_length(dataset.data["input_ids"]).to_pylist(),
            generator=torch.Generator().manual_seed(self.args.seed),
        )


def training_arguments(
    work: Path, settings: TrainingSettings, world_size: int, *, on_gpu: bool
) -> TrainingArguments:
    """The Trainer's arguments for this many processes."""
    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and bf16_available())
    rows, accumulation = rows_and_accumulation(settings, world_size)
    return TrainingArguments(
        output_dir=str(work / "checkpoints"),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        per_device_eval_batch_size=2 * rows,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        label_smoothing_factor=settings.label_smoothing,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        bf16=bf16,
        use_cpu=not on_gpu,
        deepspeed=deepspeed_config(settings, bf16=bf16),
        eval_strategy="steps",
        # Below 1 it is a share of the run. Curves asks for the evaluation after the last step.
        eval_steps=1 / settings.evaluations if settings.evaluations > 1 else LAST_STEP_ALONE,
        save_strategy="best",
        save_total_limit=1,
        save_only_model=True,
        metric_for_best_model=settings.best_metric,
        greater_is_better=settings.best_metric != "loss",
        logging_steps=0.02,
        logging_nan_inf_filter=False,  # it would hide a loss of NaN from Curves
        disable_tqdm=True,
        report_to="none",
    )


def scores(prediction: EvalPrediction) -> dict[str, float]:
    """Accuracy and macro F1 of logits [N, C] against labels [N]."""
    from sklearn.metrics import accuracy_score, f1_score

    logits: Any = prediction.predictions
    predicted = np.argmax(logits, axis=-1)
    return {
        "accuracy": float(accuracy_score(prediction.label_ids, predicted)),
        "macro_f1": float(
            f1_score(prediction.label_ids, predicted, average="macro", zero_division=0)
        ),
    }


def as_fp32(folder: Path) -> None:
    """Rewrite the folder's weights in fp32, and say so in config.json.

    transformers loads a model in the dtype that its config records, so a config that still says
    bfloat16 would serve other probabilities through `pipeline()` than through finegate.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    text = json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        save_file(
            {name: tensor.float() for name, tensor in tensors.items()}, path, {"format": "pt"}
        )
