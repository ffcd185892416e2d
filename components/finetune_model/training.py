"""One process of the training: Trainer under DeepSpeed, from token ids to a published model."""

import gc
import math
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    PrinterCallback,
    TrainingArguments,
    set_seed,
)

from components.finetune_model.batches import GlobalBatches, TokenRows
from components.finetune_model.checkpointing import CURVES, CheckpointingTrainer
from components.finetune_model.checkpoints import Uploads
from components.finetune_model.curves import Curves
from components.finetune_model.deepspeed_config import deepspeed_config
from components.finetune_model.exposition import Exposition
from components.finetune_model.hardware import computes_in_bf16, rows_and_accumulation
from components.finetune_model.inputs import fetch_inputs, is_universal
from components.finetune_model.job import Job
from components.finetune_model.model import load_initial, write_initial
from components.finetune_model.padding import Padding
from components.finetune_model.problem import best_metric, scores
from components.finetune_model.result import publish_result
from components.finetune_model.settings import TrainingSettings
from components.finetune_model.throughput import Meter
from components.problem_types import ProblemType
from serving.errors import InputError

SECONDS_FOR_THE_LAST_UPLOAD = 10.0
POINTS = 50
"""Points of a curve."""


def train(work: Path, job: Job) -> None:
    """Train as `job` says, in the work folder; process 0 publishes the result.

    Call it in each process that torchrun started. Goes on from the newest complete checkpoint,
    whatever number of processes wrote it.
    """
    import deepspeed

    from components.finetune_model import gloo

    settings = job.settings
    # Without a compiler on PATH the shared-memory collective crashes instead of falling back.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # NCCL sends objects from there
    # The order matters: process group, arguments, model. ZeRO-3 shards in from_pretrained.
    if on_gpu:
        deepspeed.init_distributed("nccl")
    else:
        gloo.start()
    world_size = dist.get_world_size()
    checkpoint = fetch_inputs(work, job)
    if int(os.environ["LOCAL_RANK"]) == 0:
        write_initial(work, job)
    dist.barrier()
    rows = read_rows(work, job)
    arguments = training_arguments(
        work,
        settings,
        world_size,
        on_gpu=on_gpu,
        steps=math.ceil(settings.epochs * math.ceil(len(rows["train"]) / settings.batch_size)),
        problem=job.problem,
        universal=is_universal(work / "resume"),
    )
    trainer = build_trainer(work, job, arguments, rows)
    if checkpoint is None:
        trainer.train()
    else:
        trainer.resume(work / "resume")
    if type(trainer.model_wrapped).__name__ != "DeepSpeedEngine":
        raise RuntimeError(f"trained with {type(trainer.model_wrapped)}, not with DeepSpeed")
    finish(work, job, trainer)


def read_rows(work: Path, job: Job) -> dict[str, TokenRows]:
    """The training and validation rows; raises InputError when there are none."""
    splits = {}
    for name in ("train", "validation"):
        folder = work / "tokenized" / f"{name}.parquet"
        if any(folder.glob("*.parquet")):
            splits[name] = TokenRows(folder)
        if not splits.get(name):
            raise InputError(
                f"the {name} split of {job.tokenized} has no rows, so there is nothing to train "
                "or to score. Give the validation step more rows or other split sizes."
            )
    return splits


def build_trainer(
    work: Path, job: Job, arguments: TrainingArguments, rows: dict[str, TokenRows]
) -> CheckpointingTrainer:
    """The Trainer of this process, with model, rows and callbacks."""
    settings = job.settings
    tokenizer = AutoTokenizer.from_pretrained(str(work / "tokenized" / "tokenizer"))
    set_seed(settings.seed)
    model = load_initial(work, settings)
    micro, _ = rows_and_accumulation(settings, dist.get_world_size())
    batches = GlobalBatches(
        rows["train"].lengths,
        settings.batch_size,
        rows=micro,
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
        seed=settings.seed,
    )
    attempt = [uuid4().hex[:8]]
    dist.broadcast_object_list(attempt, 0)
    callbacks: list[Any] = [Curves(work / CURVES, job.curves)]
    if settings.metrics_port is not None:
        callbacks.append(Exposition(settings.metrics_port, job.facts["fingerprint"][:12]))
    if settings.early_stopping is not None:
        callbacks.append(EarlyStoppingCallback(settings.early_stopping))
    trainer = CheckpointingTrainer(
        model=model,
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        data_collator=Padding(tokenizer, model.config),
        processing_class=tokenizer,
        compute_metrics=lambda given: scores(job.problem, given.predictions, given.label_ids),
        callbacks=callbacks,
        work=work,
        settings=settings,
        problem=job.problem,
        batches=batches,
        class_weights=class_weights(rows["train"], len(job.labels), settings),
        uploads=Uploads(
            job.checkpoints,
            settings.keep_checkpoints,
            {
                "kind": "checkpoint",
                "processes": dist.get_world_size(),
                "bf16": computes_in_bf16(settings),
            },
            attempt=attempt[0],
            machine=int(os.environ["GROUP_RANK"]),
            machines=dist.get_world_size() // int(os.environ["LOCAL_WORLD_SIZE"]),
        ),
        meter=Meter(model),
    )
    trainer.pop_callback(PrinterCallback)  # Curves speaks for the run
    return trainer


def finish(work: Path, job: Job, trainer: CheckpointingTrainer) -> None:
    """Publish the best weights, in process 0; the others are done."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    first, state, world_size = dist.get_rank() == 0, trainer.state, dist.get_world_size()
    trainer.uploads.finish(SECONDS_FOR_THE_LAST_UPLOAD)
    trainer.free()
    dist.barrier()
    dist.destroy_process_group()
    unset_hf_deepspeed_config()  # else from_pretrained would shard for ZeRO-3 again
    gc.collect()
    if first:
        publish_result(work, job, state, world_size)


def class_weights(rows: TokenRows, classes: int, settings: TrainingSettings) -> torch.Tensor | None:
    """Weights [C] that are 1 on the average over `rows`; None where all rows count alike.

    A class without rows weighs 0: no row will ask for it.
    """
    if settings.class_weights == "none":
        return None
    counts = np.bincount(rows.labels, minlength=classes)
    present = max(int((counts > 0).sum()), 1)
    weights = np.divide(
        len(rows), present * counts, out=np.zeros(classes), where=counts > 0, casting="unsafe"
    )
    return torch.tensor(weights, dtype=torch.float32)


def training_arguments(
    work: Path,
    settings: TrainingSettings,
    world_size: int,
    *,
    on_gpu: bool,
    steps: int,
    problem: ProblemType = "single_label_classification",
    universal: bool = False,
) -> TrainingArguments:
    """The Trainer's arguments for this many processes and `steps` optimizer steps in all."""
    bf16 = computes_in_bf16(settings)
    rows, accumulation = rows_and_accumulation(settings, world_size)
    return TrainingArguments(
        output_dir=str(work / "trainer"),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        per_device_eval_batch_size=2 * rows,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        activation_checkpointing=settings.gradient_checkpointing,
        seed=settings.seed,
        bf16=bf16,
        use_cpu=not on_gpu,
        deepspeed=deepspeed_config(settings, bf16=bf16, on_gpu=on_gpu, universal=universal),
        eval_strategy="steps",
        eval_steps=math.ceil(steps / settings.evaluations),
        save_strategy="no",  # CheckpointingTrainer saves, by the clock
        restore_callback_states_from_checkpoint=True,
        metric_for_best_model=best_metric(problem, settings),
        greater_is_better=best_metric(problem, settings) != "loss",
        logging_steps=math.ceil(steps / POINTS),
        logging_nan_inf_filter=False,  # it would hide a loss of NaN
        disable_tqdm=True,
        report_to="none",
    )
