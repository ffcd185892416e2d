"""What training tells while it runs: JSON Lines for the report, progress lines for people."""

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.console import Progress, say
from serving.errors import InputError

STEP = "finetune_model"


class Curves(TrainerCallback):
    """Writes each logged point to `path`, reports progress, and stops on a loss of NaN or inf.

    It also asks for an evaluation after the last step, which the Trainer's own interval can miss.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._progress: Progress | None = None
        self._note = ""
        self._started = time.monotonic()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self._progress = Progress(STEP, "training, step", state.max_steps)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        if state.is_world_process_zero and self._progress is not None:
            self._progress.reach(state.global_step, self._note)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        values = {name: value for name, value in (logs or {}).items() if name != "epoch"}
        loss = values.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise InputError(
                f"the training loss became {loss} at step {state.global_step}. Lower "
                "training.learning_rate, raise training.warmup, or set training.precision to fp32."
            )
        if not state.is_world_process_zero:
            return
        point = {"step": state.global_step, "epoch": state.epoch, **values}
        point["seconds"] = round(time.monotonic() - self._started, 2)
        with self._path.open("a") as file:
            file.write(json.dumps(point) + "\n")
        if loss is not None:
            self._note = f"loss {loss:.3f}"
        if "eval_loss" in values:
            scores = ", ".join(
                f"{name.removeprefix('eval_')} {values[name]:.3f}"
                for name in ("eval_loss", "eval_accuracy", "eval_macro_f1")
                if name in values
            )
            say(STEP, f"validation at step {state.global_step}: {scores}")
