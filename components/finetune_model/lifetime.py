"""A training process lives no longer than the one that started it."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when `parent`, the process that started this one, ends.

    Without it a launcher that is killed leaves its workers training: they would hold the GPUs and
    write checkpoints beside the run that takes their place.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)
