"""Token ids and a base model in, a fine-tuned Hugging Face folder with its curves out."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from components import folders
from components.console import ERROR_MARK, say
from components.finetune_model.settings import TrainingSettings
from components.fingerprint import fingerprint
from serving.errors import InputError

STEP = "finetune_model"


def finetune(store: str, tokenized: str, base_model: str, settings: TrainingSettings) -> str:
    """Write `finetuned/<fingerprint>/`: a Hugging Face folder and training.jsonl.

    Returns the S3 address. Raises InputError for settings that cannot work here.
    """
    data, base = folders.existing(tokenized), folders.existing(base_model)
    identity = fingerprint(
        {
            "tokenized": data["fingerprint"],
            "base_model": base["fingerprint"],
            "settings": settings.model_dump(),
        },
        code=["components.finetune_model"],
        libraries=["accelerate", "deepspeed", "torch", "transformers"],
    )
    uri = f"{store}/finetuned/{identity}"
    if folders.manifest_of(uri) is not None:
        say(STEP, f"cached: {uri} (same tokens, same base model, same hyperparameters)")
        return uri
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        folders.fetch(tokenized, work / "tokenized", data)
        folders.fetch(base_model, work / "base-model", base)
        job = {"settings": settings.model_dump(), "labels": data["labels"]}
        (work / "job.json").write_text(json.dumps(job))
        processes = launch(work, settings)
        (work / "output" / "training_args.bin").unlink(missing_ok=True)
        shutil.move(work / "training.jsonl", work / "output" / "training.jsonl")
        points = [
            json.loads(line)
            for line in (work / "output" / "training.jsonl").read_text().splitlines()
        ]
        facts: dict[str, Any] = {
            "kind": "finetuned-model",
            "fingerprint": identity,
            "tokenized": data["fingerprint"],
            "base_model": base["fingerprint"],
            "dataset": data["dataset"],
            "labels": data["labels"],
            "max_length": data["max_length"],
            "settings": settings.model_dump(),
            "processes": processes,
            "summary": next((p for p in reversed(points) if "train_runtime" in p), {}),
        }
        folders.publish(work / "output", uri, facts)
    summary = facts["summary"]
    say(
        STEP,
        f"{summary.get('train_runtime', 0):.0f} s, "
        f"{summary.get('train_samples_per_second', 0):.0f} rows/s, {processes} processes, "
        f"ZeRO-{settings.zero_stage}: {uri}",
    )
    return uri


def launch(work: Path, settings: TrainingSettings) -> int:
    """Run the training processes of this machine under torchrun; returns how many there were.

    Raises InputError with the worker's own words when one refuses its input, RuntimeError when
    one ends in any other way.
    """
    from components.finetune_model.hardware import process_count, threads_a_process

    processes = process_count(settings)
    command = [
        sys.executable,
        *("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"),
        *("-m", "components.finetune_model", str(work)),
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads_a_process(processes)),
        "PYTHONWARNINGS": "ignore::FutureWarning",  # torch warns of its own calls at every step
    }
    say(STEP, f"starting {processes} processes under DeepSpeed ZeRO-{settings.zero_stage}")
    refusal = ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(ERROR_MARK):
                refusal = refusal or line.removeprefix(f"{ERROR_MARK}{STEP}: ").strip()
                continue
            sys.stdout.write(line)
            sys.stdout.flush()
    if refusal:
        raise InputError(refusal)
    if process.returncode:
        raise RuntimeError(f"torchrun ended with status {process.returncode}; its log is above")
    return processes
