"""The best weights as a Hugging Face folder in fp32 that plain transformers loads, on S3."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from transformers import AutoTokenizer, TrainerState

from components import folders
from components.console import say
from components.finetune_model.checkpoints import clear
from components.finetune_model.job import Job
from components.finetune_model.model import read_whole
from serving.errors import InputError

STEP = "finetune_model"
SECONDS_TO_TRY = 600.0
SECONDS_BETWEEN_TRIES = 5.0


def publish_result(work: Path, job: Job, state: TrainerState, processes: int) -> None:
    """Write `job.result` from `work/best`, then delete the training's checkpoints."""
    output = work / "output"
    write_release(work / "best", work / "initial", output)
    shutil.copy(work / "training.jsonl", output / "training.jsonl")
    summary = summarize(output / "training.jsonl")
    facts = {
        **job.facts,
        "processes": processes,
        "summary": {**summary, "steps": state.global_step, "best_step": state.best_global_step},
    }
    deadline = time.monotonic() + SECONDS_TO_TRY
    while True:
        try:
            folders.publish(output, job.result, facts)
            clear(job.checkpoints)
            return
        except (InputError, Boto3Error) as error:  # hours of training wait for the server
            if time.monotonic() > deadline:
                raise
            say(STEP, f"the result is not on S3 yet, trying again: {error}")
            time.sleep(SECONDS_BETWEEN_TRIES)


def write_release(best: Path, initial: Path, output: Path) -> None:
    """Write `best` to `output` in fp32, LoRA adapters merged into the weights of `initial`.

    transformers loads a model in the dtype that its config records, so a config that still says
    bfloat16 would serve other probabilities through `pipeline()` than through finegate. Raises
    InputError when a weight is absent, which transformers would start random with a mere warning.
    """
    model = read_whole(best, initial)
    model.config.dtype = "float32"
    # Loaded under ZeRO-3, transformers would go back to names of its past, such as LayerNorm.gamma.
    model.save_pretrained(str(output), save_original_format=False)
    AutoTokenizer.from_pretrained(str(best)).save_pretrained(str(output))


def summarize(curves: Path) -> dict[str, Any]:
    """Last losses and scores, seconds and mean rates, of what killed attempts left too."""
    points = [json.loads(line) for line in curves.read_text(encoding="utf-8").splitlines()]
    rates = [point for point in points if "rows_per_second" in point]
    latest = {name: value for point in points for name, value in point.items()}
    return {
        "train_runtime": points[-1]["seconds"],
        **{
            name: latest[name]
            for name in ("loss", "eval_loss", "eval_accuracy", "eval_macro_f1", "memory_gib")
            if name in latest
        },
        **{
            name: round(sum(point[name] for point in rates) / len(rates), 2)
            for name in ("rows_per_second", "tokens_per_second", "mfu")
            if rates and all(name in point for point in rates)
        },
    }
