"""Checkpoints on S3: complete or not at all, uploaded beside the training, pruned, found again.

`<prefix>/<step>-<attempt>/` holds a checkpoint's files, its manifest written last. Each attempt at
a run has folders of its own, so what a killed upload left is never mixed with a later one's files.
Each machine uploads the files that its processes wrote and lists them in a part; the first machine
writes the manifest when it has all parts.
"""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error

from components import folders, storage
from components.console import say
from components.folders import MANIFEST, Manifest
from serving.errors import InputError

STEP = "finetune_model"
SECONDS_BETWEEN_TRIES = 5.0
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on S3."""

    uri: str
    manifest: Manifest

    @property
    def step(self) -> int:
        """Optimizer steps that were done."""
        return int(self.manifest["step"])

    @property
    def processes(self) -> int:
        """Processes that wrote it."""
        return int(self.manifest["processes"])


def fetch_newest(prefix: str, folder: Path) -> Checkpoint | None:
    """Download the newest checkpoint that is complete and undamaged; None when there is none.

    A folder without manifest does not count. One whose files differ from their SHA-256 is left
    for the next older one, and said so.
    """
    for name in sorted(storage.list_folders(prefix), reverse=True):
        uri = f"{prefix}/{name}"
        manifest = folders.manifest_of(uri)
        if manifest is None:
            continue
        try:
            folders.fetch(uri, folder, manifest)
        except InputError as error:
            storage.list_folders(prefix)  # raises where S3 itself is away: then none is damaged
            say(STEP, f"a damaged checkpoint is passed over: {error}")
            shutil.rmtree(folder, ignore_errors=True)
            continue
        return Checkpoint(uri, manifest)
    return None


def clear(prefix: str) -> None:
    """Delete all checkpoints of a run that has its result."""
    for name in storage.list_folders(prefix):
        _delete(f"{prefix}/{name}")


def _prune(prefix: str, step: int, keep: int) -> None:
    """Delete what is older than the newest `keep` complete checkpoints, and torn uploads among it.

    Torn uploads of steps that are yet to come stay: another process may be at them.
    """
    names = [name for name in storage.list_folders(prefix) if int(name.split("-")[0]) <= step]
    kept = 0
    for name in sorted(names, reverse=True):
        if kept < keep and folders.manifest_of(f"{prefix}/{name}") is not None:
            kept += 1
        else:
            _delete(f"{prefix}/{name}")


def _delete(uri: str) -> None:
    # The manifest goes first: a half-deleted checkpoint does not exist for any reader.
    keys = sorted(storage.list_keys(uri), key=lambda key: key != MANIFEST)
    storage.delete(f"{uri}/{key}" for key in keys)


class Uploads:
    """Uploads one checkpoint after the other in a thread, and tries again until it is there.

    One that is still under way makes `busy` true; no new checkpoint is written meanwhile, so a
    slow or absent S3 costs progress to fall back on and never the training itself.
    """

    def __init__(
        self,
        prefix: str,
        keep: int,
        facts: dict[str, Any],
        *,
        attempt: str,
        machine: int = 0,
        machines: int = 1,
    ) -> None:
        """`attempt` must be the same on all machines, and another in each attempt at the run."""
        self._prefix = prefix
        self._keep = keep
        self._facts = facts
        self._attempt = attempt
        self._machine = machine
        self._machines = machines
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @property
    def busy(self) -> bool:
        """True while a checkpoint is not yet on S3."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, folder: Path, step: int, done: Callable[[], None]) -> None:
        """Upload `folder` as the checkpoint of `step`, then call `done` in the thread."""
        assert not self.busy
        # A daemon: a training that failed must end, not wait for an S3 server that is away.
        self._thread = threading.Thread(target=self._upload, args=(folder, step, done), daemon=True)
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Let the upload under way end, for `seconds` at most: the result replaces it anyway."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _upload(self, folder: Path, step: int, done: Callable[[], None]) -> None:
        uri = f"{self._prefix}/{step:08d}-{self._attempt}"
        began = time.monotonic()
        told = False
        while True:
            try:
                files = self._publish(folder, uri, step)
                break
            except (InputError, Boto3Error, OSError) as error:
                if not told:
                    say(STEP, f"checkpoint {step} is not on S3 yet, training goes on: {error}")
                told = True
                if self._closed.wait(SECONDS_BETWEEN_TRIES):
                    return
        size = sum(file["size"] for file in files)
        seconds = time.monotonic() - began
        if self._machine == 0:
            say(STEP, f"checkpoint {step} is on S3, {size / 1e6:.1f} MB in {seconds:.1f} s")
        done()

    def _publish(self, folder: Path, uri: str, step: int) -> list[dict[str, Any]]:
        if self._machines == 1:
            manifest = folders.publish(folder, uri, {**self._facts, "step": step})
            _prune(self._prefix, step, self._keep)
            return list(manifest["files"])
        files = folders.publish_files(folder, uri)
        storage.write_json(f"{uri}/part-{self._machine}.json", files)
        if self._machine:
            return files
        for machine in range(1, self._machines):
            while (part := storage.read_json(f"{uri}/part-{machine}.json")) is None:
                if self._closed.wait(SECONDS_BETWEEN_LOOKS):
                    raise InputError(f"machine {machine} did not finish its part of {uri}.")
            files += part
        folders.seal(uri, {**self._facts, "step": step}, files)
        _prune(self._prefix, step, self._keep)
        return files
