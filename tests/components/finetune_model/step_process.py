"""finetune_model as a process of its own, which tests kill and start again."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from safetensors.numpy import load_file

from components import folders, storage
from components.console import step as console_step
from components.finetune_model.finetuning import finetune, plan
from components.finetune_model.settings import TrainingSettings

EVERY_STEP = 1e-6  # checkpoint_minutes: as often as the uploads allow


class Step:
    """The step as a process, with its launcher and ranks."""

    def __init__(
        self, store: str, inputs: tuple[str, str], given: dict[str, Any], log: Path, **env: str
    ):
        self.job = plan(store, *inputs, TrainingSettings.model_validate(given))
        self._log = log
        with log.open("a") as file:
            file.write("--- started\n")
            file.flush()
            self.process = subprocess.Popen(
                [sys.executable, __file__, store, *inputs, json.dumps(given)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(log.parent), **env},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What the last start printed."""
        return self._log.read_text().rpartition("--- started\n")[2]

    def family(self) -> dict[str, list[psutil.Process]]:
        """The running processes: the step itself, launcher, ranks."""
        found: dict[str, list[psutil.Process]] = {
            name: [] for name in ("step", "launcher", "rank 0", "rank 1")
        }
        with contextlib.suppress(psutil.NoSuchProcess):
            step = psutil.Process(self.process.pid)
            found["step"] = [step]
            for child in step.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    command = child.cmdline()
                    if "components.finetune_model.launcher" in command:
                        found["launcher"].append(child)
                    elif "components.finetune_model" in command:
                        found[f"rank {child.environ()['LOCAL_RANK']}"].append(child)
        return found

    def kill(self, *preferred: str) -> str:
        """SIGKILL to the first of `preferred` that runs; returns which. Nothing may outlive it.

        "group" is step, launcher and ranks at once, by their process groups.
        """
        family = self.family()
        everyone = [each for group in family.values() for each in group]
        whom = next(each for each in preferred if each == "group" or family[each])
        if whom == "group":
            for each in everyone:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(os.getpgid(each.pid), signal.SIGKILL)
        else:
            family[whom][0].kill()
        assert self.process.wait(60) != 0
        _, alive = psutil.wait_procs(everyone, timeout=30)
        assert alive == [], "a process outlived the one that started it"
        return whom

    def wait(self) -> None:
        assert self.process.wait(240) == 0, self.output

    def ended_within(self, seconds: float) -> bool:
        """True when the step finished by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert self.process.wait(seconds) == 0, self.output
            return True
        return False

    def wait_for_checkpoint(self, number: int) -> None:
        """Wait until a checkpoint of step `number` or later is on S3, or the training ended."""
        deadline = time.monotonic() + 120
        while self.process.poll() is None and time.monotonic() < deadline:
            if any(step >= number for step in self.uploaded()):
                return
            time.sleep(0.02)
        assert self.process.poll() == 0, self.output

    def wait_for(self, text: str) -> None:
        """Wait until the step prints `text`."""
        deadline = time.monotonic() + 120
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def uploaded(self) -> list[int]:
        """Steps whose checkpoints are on S3, since the last start."""
        return [int(n) for n in re.findall(r"checkpoint (\d+) is on S3", self.output)]

    def complete(self) -> list[str]:
        """The checkpoints on S3 that a training could go on from, by their names."""
        prefix = self.job.checkpoints
        names = storage.list_folders(prefix)
        return sorted(n for n in names if folders.manifest_of(f"{prefix}/{n}") is not None)

    def resumed_from(self) -> list[int]:
        """The step that the last start went on from."""
        return [int(n) for n in re.findall(r"going on from step (\d+)", self.output)]

    def curve(self) -> list[dict[str, Any]]:
        return storage.read_json_lines(f"{self.job.result}/training.jsonl")

    def weights(self) -> dict[str, Any]:
        folder = self._log.parent / f"result-{self.job.facts['fingerprint']}-{time.monotonic()}"
        folders.fetch(self.job.result, folder)
        return load_file(folder / "model.safetensors")


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of any weight; NaN where one of them is NaN."""
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in other.items()}
    return float(np.max([np.abs(one[name] - other[name]).max() for name in one]))


def main() -> None:
    """Run the step as the command line says."""
    store, tokenized, base, settings = sys.argv[1:]
    with console_step("finetune_model"):
        finetune(store, tokenized, base, TrainingSettings.model_validate(json.loads(settings)))


if __name__ == "__main__":
    main()
