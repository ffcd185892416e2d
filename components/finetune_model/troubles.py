"""What ends a training that is no defect of ours: said with its remedy."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from components.finetune_model.settings import TrainingSettings
from serving.errors import InputError

_CPU_ALLOCATION = ("can't allocate memory", "not enough memory", os.strerror(errno.ENOMEM))
_DISK_FULL = (
    "No space left on device",
    # what torch.save says of it, by where the writing failed
    "PytorchStreamWriter failed",
    "unexpected pos",
    "iostream error",
    "file write failed",
)


@contextmanager
def explained(settings: TrainingSettings) -> Iterator[None]:
    """Turn out-of-memory and disk-full errors into InputError; others pass through."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        cause = str(error).split(". ")[0] or type(error).__name__
        raise InputError(out_of_memory(settings, cause)) from error
    except (RuntimeError, OSError, SafetensorError) as error:
        if any(text in str(error) for text in _CPU_ALLOCATION):
            raise InputError(out_of_memory(settings, str(error))) from error
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if full or any(text in str(error) for text in _DISK_FULL):
            raise InputError(
                f"the disk under the training's work folder is full ({error}). A checkpoint takes "
                "about 16 bytes a trained weight. Free space or set "
                "TMPDIR to a larger disk, and run again: it goes on from the last checkpoint on S3."
            ) from error
        raise


def out_of_memory(settings: TrainingSettings, cause: str) -> str:
    """What to lower when memory ran out, in the order of what it costs."""
    lower = []
    if settings.rows_per_device > 1:
        lower.append(
            f"lower training.rows_per_device from {settings.rows_per_device} (the batch stays "
            f"{settings.batch_size}, so does the result)"
        )
    if not settings.gradient_checkpointing:
        lower.append("set training.gradient_checkpointing")
    if settings.zero_stage < 3:
        lower.append(f"raise training.zero_stage from {settings.zero_stage}")
    elif not settings.offload:
        lower.append("set training.offload")
    lower.append("lower tokenization.max_length")
    return f"training ran out of memory ({cause}). " + ", or ".join(lower).capitalize() + "."
