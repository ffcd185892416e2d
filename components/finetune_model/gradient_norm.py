"""The norm of all gradients under ZeRO-1 and 2, in one pass over them."""

from functools import partial
from typing import Any

import torch
from deepspeed import comm
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer


def in_one_pass(optimizer: Any) -> None:
    """Let a ZeRO-1 or 2 optimizer read its gradients once a step before it clips them.

    DeepSpeed 0.19 looks for infinities first, and then takes norms of fp64 copies, which a
    CPU's training step feels. The norm of what is not finite is not finite either, and a step of
    such a norm it skips too. Other optimizers stay as they are.
    """
    if isinstance(optimizer, DeepSpeedZeroOptimizer) and not optimizer.cpu_offload:
        optimizer.check_overflow = lambda partition_gradients=True: None
        optimizer.scaled_global_norm = partial(_norm, optimizer)


def _norm(optimizer: DeepSpeedZeroOptimizer, norm_type: int = 2) -> torch.Tensor:
    """The L2 norm, in fp32, of the gradients that all processes hold parts of.

    Each gradient's own is rounded to its dtype, as in torch's clip_grad_norm_; asked for in fp32,
    PyTorch 2.13 takes several times as long on a CPU.
    """
    norms = [
        torch.linalg.vector_norm(gradient, norm_type)
        for parts in optimizer.averaged_gradients.values()
        for gradient in parts
    ]
    total = torch.stack(norms).float().square().sum()
    comm.all_reduce(total, group=optimizer.dp_process_group)
    return total.sqrt()
