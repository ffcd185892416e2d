"""What there is to train on: processes, threads, bf16."""

from pathlib import Path

import torch

from components.finetune_model.settings import TrainingSettings
from serving.cores import available_cores
from serving.errors import InputError

CPU_PROCESSES = 2


def process_count(settings: TrainingSettings) -> int:
    """Processes to start on this machine; raises InputError when they cannot share the batch."""
    count = settings.processes or torch.cuda.device_count() or CPU_PROCESSES
    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise InputError(
            f"training.processes is {count}, but there are {torch.cuda.device_count()} GPUs; "
            "one process a GPU is the most that helps. Lower it or leave it unset."
        )
    rows_and_accumulation(settings, count)
    return count


def rows_and_accumulation(settings: TrainingSettings, world_size: int) -> tuple[int, int]:
    """Rows a device takes at once, and how often it accumulates, for the global batch size.

    Micro-batches are of like size, so that each row counts the same. Raises InputError when the
    batch does not divide by the processes, or only into micro-batches that are needlessly small.
    """
    if settings.batch_size % world_size:
        raise InputError(
            f"training.batch_size is {settings.batch_size}, which {world_size} processes cannot "
            f"share evenly. Set it to a multiple of {world_size}, or set training.processes."
        )
    share = settings.batch_size // world_size
    most = min(share, settings.rows_per_device)
    rows = max(size for size in range(1, most + 1) if share % size == 0)
    if rows < most / 2:
        raise InputError(
            f"training.batch_size is {settings.batch_size}, {share} rows on each of {world_size} "
            f"processes, which training.rows_per_device {settings.rows_per_device} can only divide "
            f"into {share // rows} passes of {rows}. Set batch_size to a multiple of "
            f"{most * world_size}, or rows_per_device to {rows} if you mean that."
        )
    return rows, share // rows


def computes_in_bf16(settings: TrainingSettings) -> bool:
    """True when training on this machine is in bf16."""
    return settings.precision == "bf16" or (settings.precision == "auto" and bf16_available())


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
    memory of every large tensor back and fault its pages in again, in every step.
    """
    variables = {"OMP_NUM_THREADS": str(max(1, available_cores() // processes))}
    if not torch.cuda.is_available():
        variables |= {
            "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
        }
    return variables
