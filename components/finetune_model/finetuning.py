"""Token ids and a base model in, a fine-tuned Hugging Face folder with its curves out."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from components import folders
from components.console import ERROR_MARK, say
from components.finetune_model import checkpoints, cluster
from components.finetune_model.job import Job
from components.finetune_model.problem import check
from components.finetune_model.settings import TrainingSettings
from components.fingerprint import fingerprint
from components.problem_types import ProblemType
from serving.errors import InputError

STEP = "finetune_model"


def finetune(store: str, tokenized: str, base_model: str, settings: TrainingSettings) -> str:
    """Write `finetuned/<fingerprint>/`: a Hugging Face folder and training.jsonl.

    A run that was killed goes on from its newest checkpoint when it is run again. Returns the S3
    address. Raises InputError for settings that cannot work here, RuntimeError when training ends
    in a way that its log has to explain.
    """
    job = plan(store, tokenized, base_model, settings)
    if folders.cached(job.result, STEP, "same tokens, same base model, same hyperparameters"):
        checkpoints.clear(job.checkpoints)
        return job.result
    if settings.cluster is not None:
        cluster.run(job, settings.cluster)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            job.write(Path(scratch))
            launch(Path(scratch), settings)
    facts = folders.existing(job.result)
    summary = facts["summary"]
    say(
        STEP,
        f"{summary['train_runtime']:.0f} s, {summary.get('rows_per_second', 0):.0f} rows/s, "
        f"{facts['processes']} processes, ZeRO-{settings.zero_stage}: {job.result}",
    )
    return job.result


def plan(store: str, tokenized: str, base_model: str, settings: TrainingSettings) -> Job:
    """What is to be trained, and where it lies on S3: its fingerprint names both.

    Raises InputError when an input does not exist, or settings do not suit its kind of problem.
    """
    data, base = folders.existing(tokenized), folders.existing(base_model)
    problem: ProblemType = data.get("problem_type", "single_label_classification")
    check(problem, settings)
    identity = fingerprint(
        {
            "tokenized": data["fingerprint"],
            "base_model": base["fingerprint"],
            "settings": settings.identity(),
        },
        code=["components.finetune_model", "serving.families"],
        libraries=["accelerate", "deepspeed", "peft", "torch", "transformers"],
    )
    return Job(
        settings=settings,
        labels=data["labels"],
        problem=problem,
        tokenized=tokenized,
        base_model=base_model,
        checkpoints=f"{store}/checkpoints/{identity}",
        curves=f"{store}/curves/{identity}",
        result=f"{store}/finetuned/{identity}",
        facts={
            "kind": "finetuned-model",
            "fingerprint": identity,
            "tokenized": data["fingerprint"],
            "base_model": base["fingerprint"],
            "dataset": data["dataset"],
            "labels": data["labels"],
            "problem_type": problem,
            "max_length": data["max_length"],
            "settings": settings.model_dump(),
        },
    )


def launch(work: Path, settings: TrainingSettings) -> None:
    """Run the training processes of this machine under torchrun.

    Raises InputError with the worker's own words when one refuses its input, or with what to lower
    when one was killed; RuntimeError when one ends in any other way.
    """
    from components.finetune_model.hardware import environment, process_count

    processes = process_count(settings)
    command = [
        sys.executable,
        *("-m", "components.finetune_model.launcher"),
        *(str(os.getpid()), str(work), str(processes)),
    ]
    variables = {
        **os.environ,
        **environment(processes),
        "PYTHONWARNINGS": "ignore::FutureWarning",  # torch warns of its own calls at every step
    }
    say(STEP, f"starting {processes} processes under DeepSpeed ZeRO-{settings.zero_stage}")
    refusal = ""
    killed = False
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(ERROR_MARK):
                refusal = refusal or line.removeprefix(f"{ERROR_MARK}{STEP}: ").strip()
                continue
            killed = killed or re.search(rf"exitcode *: -{signal.SIGKILL:d}\b", line) is not None
            sys.stdout.write(line)
            sys.stdout.flush()
    if refusal:
        raise InputError(refusal)
    if killed or process.returncode == -signal.SIGKILL:
        raise InputError(
            "a training process got SIGKILL, which the kernel sends when memory runs out: lower "
            f"training.rows_per_device from {settings.rows_per_device}, or raise cluster.memory "
            "where this runs in a pod. Run again: training goes on from the last checkpoint."
        )
    if process.returncode:
        raise RuntimeError(
            f"torchrun ended with status {process.returncode}; its log is above. Run again: "
            "training goes on from the last checkpoint."
        )
