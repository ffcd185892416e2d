"""A test module run by torchrun: its `one_process` in each of some processes, joined by gloo."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[3]


def torchrun(module: str, processes: int) -> None:
    """Run the test module at the path `module` in so many processes; all must end well."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    result = subprocess.run(
        [*command, f"--nproc_per_node={processes}", module],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def joined(one_process: Callable[[], None]) -> None:
    """Call `one_process` as one of torchrun's, in DeepSpeed's process group."""
    import deepspeed
    import torch.distributed as dist

    from components.finetune_model import gloo

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # as training.py has it
    gloo.start()
    one_process()
    dist.destroy_process_group()
