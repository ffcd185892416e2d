"""What DeepSpeed does to all gradients in each step, without what changes nothing.

A CPU feels each pass over the gradients. A GPU feels that it waits: kernels for each tensor, and
answers that the host asks for before it goes on (benchmarks/README.md has what that cost).
"""

from functools import partial
from typing import Any

import torch
from deepspeed import comm
from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer


def in_fewer_passes(engine: Any) -> None:
    """Let an engine without offload, of ZeRO stage 0, 1 or 2, touch its gradients less often.

    DeepSpeed 0.19 looks for infinities before it takes norms, of fp64 copies in stage 1 and 2. The
    norm of what is not finite is not finite either, and a step of such a norm it skips too. It also
    copies gradients to sum them over the processes where there is but one. Other engines stay as
    they are.
    """
    optimizer = engine.optimizer
    alone = comm.get_world_size() == 1
    if isinstance(optimizer, DeepSpeedZeroOptimizer) and not optimizer.cpu_offload:
        optimizer.check_overflow = lambda partition_gradients=True: None
        optimizer.scaled_global_norm = partial(_norm, optimizer)
        if alone:
            optimizer.contiguous_gradients = False
            optimizer.buffered_reduce_fallback = lambda *arguments, **named: None
    elif engine.zero_optimization_stage() == 0:
        if isinstance(optimizer, FP16_UnfusedOptimizer):  # bf16 too
            optimizer.overflow_checker.check = lambda param_groups=None: False
        if alone:
            engine.enable_backward_allreduce = False


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
