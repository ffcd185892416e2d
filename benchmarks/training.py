"""Training throughput against the plain Trainer and a hand-written loop, in one run.

    python -m benchmarks.training [--rows N] [--json FILE]

Rows and base model are the quickstart's (with `--shape`: random tokens, a shape from scratch).
Every row of the table trains the same model on the same ids with the same global batch, AdamW,
clipping and precision, and counts the same steps: all but the first few, without evaluation.

The ceiling is a loop by hand: length-grouped batches padded by one NumPy call, autocast, fused
AdamW, no checkpoints, no metrics, our processes' environment. For two processes it is that loop
under DistributedDataParallel with half of each batch and of the threads. The Trainer runs as a
shell starts it. With more than one round a row is its fastest: other work only slows a run down.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 32
SKIPPED = 8
"""Steps that warm up caches and are not counted."""
CLASSES = ["negative", "positive"]
SHAPES: dict[str, dict[str, Any]] = {
    "minilm": {
        "model_type": "bert",
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "bert-base": {"model_type": "bert"},
    "decoder-1b": {
        "model_type": "llama",
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
    },
}


def main() -> None:
    """Run every way of training in processes of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--shape", choices=SHAPES, help="random weights and tokens instead")
    parser.add_argument("--length", type=int, default=128, help="tokens a row, with --shape")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument("--only", nargs="*", help="names of rows to run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=2, metavar=("KIND", "WORK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker[0], Path(given.worker[1]), given)
        return
    with tempfile.TemporaryDirectory() as scratch, store(Path(scratch)) as address:
        work = Path(scratch) / "inputs"
        for number in range(given.rounds):
            prepare(work, f"{address}/round-{number}", given)
        rounds = [
            list(measured(work, f"{address}/round-{number}", given))
            for number in range(given.rounds)
        ]
    rows = [max(same, key=lambda row: row["rows_per_second"]) for same in zip(*rounds, strict=True)]
    report(rows, given)


def measured(work: Path, address: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row a way of training: name, processes, rows a second, seconds of start-up."""
    threads = len(os.sched_getaffinity(0))
    ways = [
        ("ceiling, 1 process", "loop", 1, None),
        ("Trainer, fixed padding", "fixed", 1, None),
        ("Trainer, dynamic padding", "dynamic", 1, None),
        ("ours, 1 process, ZeRO-0", "ours", 1, 0),
        ("ours, 1 process, ZeRO-1", "ours", 1, 1),
        ("ours, 1 process, ZeRO-2", "ours", 1, 2),
        ("ceiling, 2 processes", "loop", 2, None),
        ("ours, 2 processes, ZeRO-0", "ours", 2, 0),
        ("ours, 2 processes, ZeRO-1", "ours", 2, 1),
        ("ours, 2 processes, ZeRO-2", "ours", 2, 2),
    ]
    for name, kind, processes, stage in ways:
        if given.only and name not in given.only:
            continue
        began = time.monotonic()
        if kind == "ours":
            assert stage is not None
            row = run_ours(address, given, processes, stage)
        else:
            row = run_peer(work, given, kind, processes, max(1, threads // processes))
        seconds = time.monotonic() - began
        row = {"name": name, "processes": processes, **row}
        row["startup_seconds"] = round(seconds - row.pop("training_seconds"), 1)
        print(json.dumps(row), flush=True)  # noqa: T201 - a benchmark talks
        yield row


def run_peer(
    work: Path, given: argparse.Namespace, kind: str, processes: int, threads: int
) -> dict[str, Any]:
    """`processes` workers of `kind` at once; their rates together."""
    from components.finetune_model.hardware import environment
    from components.processes import free_ports

    command = [sys.executable, "-m", "benchmarks.training", "--worker", kind, str(work), "--batch"]
    command += [str(given.batch), "--precision", given.precision]
    command += ["--epochs", str(given.epochs)]
    # The ceiling has our processes' environment, the Trainer what a shell gives it.
    ours = environment(processes) if kind == "loop" else {"OMP_NUM_THREADS": str(threads)}
    [port] = free_ports(1)
    ours |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, **ours, "RANK": str(rank)},
            cwd=Path(__file__).parent.parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    answers = [json.loads(each.communicate()[0].splitlines()[-1]) for each in workers]
    return {
        "rows_per_second": round(sum(each["rows_per_second"] for each in answers), 1),
        "training_seconds": max(each["training_seconds"] for each in answers),
    }


def run_ours(address: str, given: argparse.Namespace, processes: int, stage: int) -> dict[str, Any]:
    """The step itself; its rate is from its own curves."""
    from components import storage
    from components.finetune_model.finetuning import finetune
    from components.finetune_model.settings import TrainingSettings

    settings = TrainingSettings(
        epochs=given.epochs,
        batch_size=given.batch,
        rows_per_device=given.batch,
        evaluations=1,
        precision=given.precision,
        processes=processes,
        zero_stage=stage,  # type: ignore[arg-type]  # 0 to 3
        learning_rate=1e-5,
    )
    result = finetune(
        f"{address}/{processes}-{stage}", f"{address}/tokenized", f"{address}/base", settings
    )
    lines = (storage.read_bytes(f"{result}/training.jsonl") or b"").decode().splitlines()
    points = [json.loads(line) for line in lines]
    counted = [p for p in points if "rows_per_second" in p and p["step"] > SKIPPED]
    row = {
        # Equal steps a point, so the mean rate is that of the mean time.
        "rows_per_second": round(
            len(counted) / sum(1 / point["rows_per_second"] for point in counted), 1
        ),
        "training_seconds": points[-1]["seconds"],
    }
    if "mfu" in points[-2]:
        row["mfu"] = max(point["mfu"] for point in counted)
    return row


# Inputs


def store(scratch: Path) -> Any:
    """An S3 server for the run, as a context that gives its address."""
    import contextlib

    from pipelines import object_store

    @contextlib.contextmanager
    def started() -> Iterator[str]:
        os.environ.update(object_store.start(scratch / "state"))
        try:
            yield f"s3://{object_store.BUCKET}"
        finally:
            object_store.stop(scratch / "state")

    return started()


def prepare(work: Path, address: str, given: argparse.Namespace) -> None:
    """Put token ids and a base model into `work` and on S3."""
    from components import folders

    if given.shape:
        random_inputs(work, given)
    else:
        quickstart_inputs(work, address)
    for name, count in (("train", given.rows), ("validation", 64)):
        folder = work / "tokenized" / f"{name}.parquet"
        table = pq.read_table(folder).slice(0, count)
        shutil.rmtree(folder)
        folder.mkdir()
        pq.write_table(table, folder / "0.parquet")
    facts = {"fingerprint": "t", "dataset": "d", "labels": CLASSES, "max_length": 64}
    folders.publish(work / "tokenized", f"{address}/tokenized", facts)
    folders.publish(work / "base", f"{address}/base", {"fingerprint": "b"})


def quickstart_inputs(work: Path, address: str) -> None:
    """The quickstart's own steps, from download to token ids."""
    from components import folders
    from components.download_dataset.dataset import download as download_dataset
    from components.download_model.model import download as download_model
    from components.tokenize_dataset.tokens import tokenize
    from components.validate_dataset.dataset import validate
    from pipelines.config import load

    config = load(Path(__file__).parent.parent / "configs" / "quickstart.yaml")
    model = download_model(address, config.base_model)
    texts = validate(address, download_dataset(address, config.dataset), config.validation)
    folders.fetch(tokenize(address, texts, model, config.tokenization), work / "tokenized")
    folders.fetch(model, work / "base")


def random_inputs(work: Path, given: argparse.Namespace) -> None:
    """Random tokens of one length, and a config of `given.shape` without weights."""
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, PreTrainedTokenizerFast

    shape = dict(SHAPES[given.shape])
    config = AutoConfig.for_model(shape.pop("model_type"), **shape)
    (work / "tokenized").mkdir(parents=True)
    config.save_pretrained(str(work / "base"))
    vocabulary = {f"w{index}": index for index in range(config.vocab_size - 1)} | {
        "[PAD]": config.vocab_size - 1
    }
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w0")), pad_token="[PAD]"
    )
    tokenizer.model_max_length = given.length
    tokenizer.save_pretrained(str(work / "tokenized" / "tokenizer"))
    chance = np.random.default_rng(0)
    for name, count in (("train", given.rows), ("validation", 64)):
        ids = chance.integers(0, config.vocab_size - 1, (count, given.length), dtype=np.int32)
        table = pa.table(
            {
                "input_ids": pa.array(list(ids), pa.list_(pa.int32())),
                "labels": pa.array(chance.integers(0, 2, count), pa.int64()),
            }
        )
        (work / "tokenized" / f"{name}.parquet").mkdir()
        pq.write_table(table, work / "tokenized" / f"{name}.parquet" / "0.parquet")


# The peers, each in a process of its own


def worker(kind: str, work: Path, given: argparse.Namespace) -> None:
    """Train as a peer does; prints its rate and how long training took as JSON."""
    import torch

    from components.finetune_model.hardware import bf16_available
    from components.finetune_model.model import build

    bf16 = given.precision == "bf16" or (given.precision == "auto" and bf16_available())
    from transformers import AutoTokenizer

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

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = TokenRows(train)
    world_size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    batches = GlobalBatches(rows.lengths, given.batch, rows=given.batch)
    model.to(device).train()
    if world_size > 1:
        torch.distributed.init_process_group("gloo")
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
    clock, counted, first = 0.0, 0, time.monotonic()
    for step, batch in enumerate(b for epoch in range(given.epochs) for b in batches.epoch(epoch)):
        if step == SKIPPED:
            _wait(device)
            clock = time.monotonic()
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
        counted += len(features) if step >= SKIPPED else 0
    _wait(device)
    now = time.monotonic()
    return {"rows_per_second": counted / (now - clock), "training_seconds": now - first}


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


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

    marks: dict[str, float] = {}

    class Clock(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **named: Any) -> None:
            marks["first"] = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            if state.global_step == SKIPPED:
                marks["clock"] = time.monotonic()
            if state.global_step == state.max_steps:
                marks["last"], marks["steps"] = time.monotonic(), state.max_steps - SKIPPED

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
    seconds = marks["last"] - marks["clock"]
    return {
        "rows_per_second": marks["steps"] * given.batch / seconds,
        "training_seconds": marks["last"] - marks["first"],
    }


# The table


def report(rows: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """Print the table with the targets; write both to `--json`."""
    from benchmarks import results

    rate = {row["name"]: row["rows_per_second"] for row in rows}
    ours, ceiling = "ours, {} process{}, ZeRO-{}", "ceiling, {} process{}"
    ratios = [
        (ours.format(count, many, stage), ceiling.format(count, many), 0.95)
        for count, many in ((1, ""), (2, "es"))
        for stage in (0, 1, 2)
    ]
    ratios.append((ours.format(1, "", 0), "Trainer, fixed padding", 1.5))
    targets = [
        results.at_least(f"{one} over {other}", rate[one] / rate[other], bound)
        for one, other, bound in ratios
        if one in rate and other in rate
    ]
    if any("mfu" in row for row in rows):
        rows = [{"mfu": "", **row} for row in rows]
    results.show(rows)
    results.finish(rows, targets, given.json)


if __name__ == "__main__":
    main()
