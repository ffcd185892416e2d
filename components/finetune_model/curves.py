"""What training tells while it runs: curves as JSON Lines and TensorBoard files, progress lines."""

import json
import threading
import time
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from tensorboardX import SummaryWriter
from transformers import TrainerCallback, TrainerState

from components import storage
from components.console import Progress, say
from serving.errors import InputError

STEP = "finetune_model"
SECONDS_FOR_THE_LAST = 10.0
UNCHARTED = {"step", "epoch", "seconds"}


class Curves(TrainerCallback):
    """Writes each logged point to `path` and to TensorBoard files beside it, and tells progress.

    With `uri` both are also on S3 after each evaluation, for who watches. A resumed training goes
    on with the seconds that the file ends with.
    """

    def __init__(self, path: Path, uri: str | None) -> None:
        self._path = path
        self._uri = uri
        self._progress: Progress | None = None
        self._note = ""
        self._started = time.monotonic()
        self._board: SummaryWriter | None = None
        self._showing: threading.Thread | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **named: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._progress = Progress(STEP, "training, step", state.max_steps)
        points = []
        if self._path.is_file():
            points = [json.loads(line) for line in self._path.read_text().splitlines()]
        self._path.touch()
        self._started = time.monotonic() - (points[-1]["seconds"] if points else 0)
        self._board = SummaryWriter(str(self._path.parent / "tensorboard"))
        for point in points:
            self._chart(point)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **named: Any) -> None:
        if self._progress is not None:
            self._progress.reach(state.global_step, self._note)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: Any,
        logs: dict[str, float] | None = None,
        **named: Any,
    ) -> None:
        if not state.is_world_process_zero:
            return
        values = {name: value for name, value in (logs or {}).items() if name != "epoch"}
        point = {"step": state.global_step, "epoch": state.epoch, **values}
        point["seconds"] = round(time.monotonic() - self._started, 2)
        with self._path.open("a") as file:
            file.write(json.dumps(point) + "\n")
        self._chart(point)
        if "loss" in values:
            self._note = f"loss {values['loss']:.3f}, {values['rows_per_second']:.0f} rows/s"
        if "eval_loss" in values:
            scores = ", ".join(
                f"{name.removeprefix('eval_')} {values[name]:.3f}"
                for name in ("eval_loss", "eval_accuracy", "eval_macro_f1")
                if name in values
            )
            say(STEP, f"validation at step {state.global_step}: {scores}")
            self._show()

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **named: Any) -> None:
        if self._board is not None:
            if self._showing is not None:
                self._showing.join(SECONDS_FOR_THE_LAST)
            self._show()
            if self._showing is not None:
                self._showing.join(SECONDS_FOR_THE_LAST)
            self._board.close()

    def _chart(self, point: dict[str, Any]) -> None:
        assert self._board is not None
        for name, value in point.items():
            if name not in UNCHARTED:
                self._board.add_scalar(name, value, point["step"])

    def _show(self) -> None:
        if self._uri is None or self._board is None:
            return
        self._board.flush()
        events = max((self._path.parent / "tensorboard").iterdir())
        files = {
            f"{self._uri}/{self._path.name}": self._path.read_bytes(),
            f"{self._uri}/tensorboard/events.out.tfevents.{STEP}": events.read_bytes(),
        }
        if self._showing is None or not self._showing.is_alive():
            self._showing = threading.Thread(target=_write, args=(files,), daemon=True)
            self._showing.start()


def _write(files: dict[str, bytes]) -> None:
    try:
        for uri, content in files.items():
            storage.write_bytes(uri, content, "application/octet-stream")
    except (InputError, Boto3Error) as error:  # training goes on without spectators
        say(STEP, f"the curves are not on S3 now: {error}")
