"""Training throughput against the plain Trainer and a hand-written loop, in one run.

    python -m benchmarks.training [--rows N] [--json FILE]

Rows and base model are the quickstart's (with `--shape`: random tokens, a shape from scratch).
Every row of the table trains the same model on the same ids with the same global batch, AdamW,
clipping and precision, and counts the same steps: all but the first few, without evaluation.

The ceiling is a loop by hand: length-grouped batches padded by one NumPy call, autocast, fused
AdamW, no checkpoints, no metrics, our processes' environment. For two processes it is that loop
under DistributedDataParallel with half of each batch and of the threads. The Trainer runs as a
shell starts it. Rounds have the same batches in the same order, and a row adds up each step's
fastest: what else the machine or its host does only slows a step down.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.training_inputs import SHAPES, prepare
from benchmarks.training_peers import PRECISIONS, SKIPPED
from components import storage
from components.finetune_model.finetuning import finetune
from components.finetune_model.hardware import environment
from components.finetune_model.settings import TrainingSettings
from components.processes import free_ports
from pipelines import object_store

BATCH = 32


def main() -> None:
    """Run every way of training in processes of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--shape", choices=SHAPES, help="random weights and tokens instead")
    parser.add_argument("--length", type=int, default=128, help="tokens a row, with --shape")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--only", nargs="*", help="names of rows to run")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, store(Path(scratch)) as address:
        work = Path(scratch) / "inputs"
        for number in range(given.rounds):
            prepare(work, f"{address}/round-{number}", given)
        rounds = [
            list(measured(work, f"{address}/round-{number}", given))
            for number in range(given.rounds)
        ]
    report([fastest(same, given.batch) for same in zip(*rounds, strict=True)], given)


@contextmanager
def store(scratch: Path) -> Iterator[str]:
    """An S3 server for the run; gives its address."""
    os.environ.update(object_store.start(scratch / "state"))
    try:
        yield f"s3://{object_store.BUCKET}"
    finally:
        object_store.stop(scratch / "state")


def measured(work: Path, address: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row a way of training: name, processes, seconds of each step and of start-up."""
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
        print(json.dumps(fastest([row], given.batch)), flush=True)  # noqa: T201 - a benchmark talks
        yield row


def fastest(rounds: Sequence[dict[str, Any]], batch: int) -> dict[str, Any]:
    """A way's row for the table: its rate is that of the fastest of each step."""
    steps = [min(same) for same in zip(*(each["steps"] for each in rounds), strict=True)]
    row = {key: value for key, value in rounds[0].items() if key != "steps"}
    row["startup_seconds"] = min(each["startup_seconds"] for each in rounds)
    if "mfu" in row:
        row["mfu"] = max(each["mfu"] for each in rounds)
    return {**row, "rows_per_second": round(batch * len(steps) / sum(steps), 1)}


def run_peer(
    work: Path, given: argparse.Namespace, kind: str, processes: int, threads: int
) -> dict[str, Any]:
    """`processes` workers of `kind` at once, which wait for each other at each step."""
    command = [sys.executable, "-m", "benchmarks.training_peers", kind, str(work)]
    command += ["--batch", str(given.batch), "--epochs", str(given.epochs)]
    command += ["--precision", given.precision]
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
        "steps": [max(same) for same in zip(*(each["steps"] for each in answers), strict=True)],
        "training_seconds": max(each["training_seconds"] for each in answers),
    }


def run_ours(address: str, given: argparse.Namespace, processes: int, stage: int) -> dict[str, Any]:
    """The step itself, as its own curves tell."""
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
    points = storage.read_json_lines(f"{result}/training.jsonl")
    counted = [p for p in points if "rows_per_second" in p and p["step"] > SKIPPED]
    row = {
        # A point may stand for several steps.
        "steps": [given.batch / point["rows_per_second"] for point in counted],
        "training_seconds": points[-1]["seconds"],
    }
    if "mfu" in counted[-1]:
        row["mfu"] = max(point["mfu"] for point in counted)
    return row


def report(rows: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """Print the table with the targets; write both to `--json`."""
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
    shown = rows
    if any("mfu" in row for row in rows):
        shown = [{**row, "mfu": f"{row['mfu']:.3f}" if "mfu" in row else ""} for row in rows]
    results.show(shown)
    results.finish(rows, targets, given.json)


if __name__ == "__main__":
    main()
