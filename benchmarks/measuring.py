"""Seconds of a call, and a child process that measures itself."""

import subprocess
import time
from collections.abc import Callable
from typing import Any


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def output_of(command: list[str]) -> str:
    """A child's stdout; raises RuntimeError with the end of its stderr when it fails."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{command[:3]} exited with {ended.returncode}: {ended.stderr[-2000:]}")
    return ended.stdout
