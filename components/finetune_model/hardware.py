"""What there is to train on: processes, threads, bf16."""

import os
from pathlib import Path

import torch

from components.finetune_model.settings import TrainingSettings
from serving.errors import InputError

CPU_PROCESSES = 2


def process_count(settings: TrainingSettings) -> int:
    """Processes to start on this machine; raises InputError when the batch does not divide."""
    count = settings.processes or torch.cuda.device_count() or CPU_PROCESSES
    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise InputError(
            f"training.processes is {count}, but there are {torch.cuda.device_count()} GPUs; "
            "one process a GPU is the most that helps. Lower it or leave it unset."
        )
    if settings.batch_size % count:
        raise InputError(
            f"training.batch_size is {settings.batch_size}, which {count} processes cannot share "
            f"evenly. Set it to a multiple of {count}, or set training.processes."
        )
    return count


def rows_and_accumulation(settings: TrainingSettings, world_size: int) -> tuple[int, int]:
    """Rows a device takes at once, and how often it accumulates, for the global batch size."""
    share = settings.batch_size // world_size
    rows = max(size for size in range(1, settings.rows_per_device + 1) if share % size == 0)
    return rows, share // rows


def bf16_available() -> bool:
    """True when bf16 matrix products run in hardware: GPUs since Ampere, CPUs with the flags."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo")
    return flags.exists() and bool(
        {"avx512_bf16", "amx_bf16"} & set(flags.read_text().split("\n\n", 1)[0].split())
    )


def environment(processes: int) -> dict[str, str]:
    """Variables for each of `processes` training processes on this machine.

    More threads than the free cores make training many times slower. On a CPU glibc would give the
    memory of every large tensor back and fault its pages in again: keeping it makes a training
    step of a small BERT about twice as fast (benchmarks/README.md).
    """
    variables = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes))}
    if not torch.cuda.is_available():
        variables |= {
            "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
        }
    return variables
