"""What benchmarks.training measures against, one process each: `... training_peers KIND WORK`.

KIND is loop (the ceiling), dynamic or fixed (the Trainer, by its padding).
"""

import argparse
import json
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.training_inputs import CLASSES

PRECISIONS = ("auto", "bf16", "fp32")
SKIPPED = 8
"""Steps that warm up caches and are not counted."""


def main() -> None:
    """Train as a peer does; prints its rate and how long training took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["loop", "dynamic", "fixed"])
    parser.add_argument("work", type=Path)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, required=True)
    given = parser.parse_args()
    kind, work = given.kind, given.work
    import torch
    from transformers import AutoTokenizer

    from components.finetune_model.hardware import bf16_available
    from components.finetune_model.model import build

    bf16 = given.precision == "bf16" or (given.precision == "auto" and bf16_available())
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(work / "tokenized" / "tokenizer"))
    model = build(work / "base", CLASSES, tokenizer)
    train = work / "tokenized" / "train.parquet"
    if kind == "loop":
        answer = by_hand(model, tokenizer, train, given, bf16=bf16)
    else:
        answer = by_trainer(model, tokenizer, train, given, fixed=kind == "fixed", bf16=bf16)
    print(json.dumps(answer))  # noqa: T201 - read by the process that started this one


def by_hand(
    model: Any, tokenizer: Any, train: Path, given: argparse.Namespace, *, bf16: bool
) -> dict[str, Any]:
    """The least code that trains: the ceiling."""
    import torch

    from components.finetune_model.batches import GlobalBatches, TokenRows
    from components.finetune_model.settings import TrainingSettings

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = TokenRows(train)
    world_size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    seed = TrainingSettings().seed  # ours: the same batches in the same order
    batches = GlobalBatches(rows.lengths, given.batch, rows=given.batch, seed=seed)
    model.to(device).train()
    if world_size > 1:
        torch.distributed.init_process_group("gloo")
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
    ends = [time.monotonic()]
    for batch in (each for epoch in range(given.epochs) for each in batches.epoch(epoch)):
        features = [rows[int(row)] for row in batch[rank::world_size]]
        longest = max(len(each["input_ids"]) for each in features)
        ids = np.full((len(features), longest), tokenizer.pad_token_id)
        mask = np.zeros((len(features), longest), dtype=np.int64)
        for index, each in enumerate(features):
            ids[index, : len(each["input_ids"])] = each["input_ids"]
            mask[index, : len(each["input_ids"])] = 1
        labels = torch.tensor([each["labels"] for each in features], device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(
                input_ids=torch.from_numpy(ids).to(device),
                attention_mask=torch.from_numpy(mask).to(device),
            ).logits
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()  # so that the step's time is its own
        ends.append(time.monotonic())
    return _answer(ends)


def _answer(ends: list[float]) -> dict[str, Any]:
    """Seconds of each step that counts, and of all, from when training began and steps ended."""
    steps = [after - before for before, after in pairwise(ends)]
    return {"steps": steps[SKIPPED:], "training_seconds": ends[-1] - ends[0]}


def by_trainer(
    model: Any, tokenizer: Any, train: Path, given: argparse.Namespace, *, fixed: bool, bf16: bool
) -> dict[str, Any]:
    """The Trainer as its documentation shows it, without DeepSpeed."""
    import torch
    from datasets import Dataset
    from transformers import (
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **named: Any) -> None:
            ends.append(time.monotonic())

        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            ends.append(time.monotonic())

    padding: dict[str, Any] = (
        {"padding": "max_length", "max_length": tokenizer.model_max_length} if fixed else {}
    )
    with tempfile.TemporaryDirectory() as scratch:
        rows = Dataset.from_parquet(str(train / "0.parquet"), cache_dir=scratch)
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                num_train_epochs=given.epochs,
                per_device_train_batch_size=given.batch,
                learning_rate=1e-5,
                weight_decay=0.01,
                bf16=bf16,
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no",
                logging_steps=10,
                disable_tqdm=True,
                report_to="none",
            ),
            train_dataset=rows,
            data_collator=DataCollatorWithPadding(tokenizer, **padding),
            callbacks=[Clock()],
        )
        trainer.train()
    return _answer(ends)


if __name__ == "__main__":
    main()
