"""DeepSpeed's collectives between processes without GPUs, in as few bytes and copies as can be.

Gloo's own take longer than their bytes do when sent from one process to another, half of them each
way at once: for a MiniLM's weights between two processes of a machine by a multiple. What it is
worth is the two processes' part of benchmarks/training.py, whose ceiling sums with gloo's own.
"""

from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.comm.torch import TorchBackend

WORTHWHILE = 1 << 20
"""Bytes from which the time is in the bytes and not in the number of messages."""


class GlooBackend(TorchBackend):  # type: ignore[misc]  # DeepSpeed has no types
    """DeepSpeed's interface to torch.distributed, with large sums and gathers made of sends."""

    def all_reduce(
        self,
        tensor: torch.Tensor,
        op: Any = dist.ReduceOp.SUM,
        group: Any = None,
        async_op: bool = False,
    ) -> Any:
        """Sum `tensor` over the processes in place, each of them a part that it then sends round.

        A part is summed by one process alone, so all processes end with the same bits.
        """
        size = dist.get_world_size(group)
        if size == 1 and not async_op:
            return None
        whole = tensor.nbytes >= WORTHWHILE and tensor.is_contiguous()
        if async_op or not whole or self._reduce_op(op) != dist.ReduceOp.SUM:
            return super().all_reduce(tensor, op, group, async_op)
        rank = dist.get_rank(group)
        parts = tensor.view(-1).tensor_split(size)
        peers = [peer for peer in range(size) if peer != rank]
        received = [torch.empty_like(parts[rank]) for _ in peers]
        _exchange([parts[peer] for peer in peers], received, peers, group)
        for part in received:
            parts[rank].add_(part)
        _exchange([parts[rank]] * len(peers), [parts[peer] for peer in peers], peers, group)
        return None

    def all_gather_into_tensor(
        self,
        output_tensor: torch.Tensor,
        input_tensor: torch.Tensor,
        group: Any = None,
        async_op: bool = False,
    ) -> Any:
        """Fill `output_tensor` with every process's `input_tensor`, which may be a part of it."""
        if async_op or output_tensor.nbytes < WORTHWHILE or not output_tensor.is_contiguous():
            return super().all_gather_into_tensor(output_tensor, input_tensor, group, async_op)
        size, rank = dist.get_world_size(group), dist.get_rank(group)
        parts = output_tensor.view(-1).tensor_split(size)
        if parts[rank].data_ptr() != input_tensor.data_ptr():
            parts[rank].copy_(input_tensor.view(-1))
        peers = [peer for peer in range(size) if peer != rank]
        _exchange([parts[rank]] * len(peers), [parts[peer] for peer in peers], peers, group)
        return None


def _exchange(
    to_send: list[torch.Tensor], to_fill: list[torch.Tensor], peers: list[int], group: Any
) -> None:
    """Send each of `peers` a tensor and fill one with what it sends, all at once."""
    under_way = [
        dist.irecv(tensor, group=group, group_src=peer)
        for tensor, peer in zip(to_fill, peers, strict=True)
    ] + [
        dist.isend(tensor, group=group, group_dst=peer)
        for tensor, peer in zip(to_send, peers, strict=True)
    ]
    for each in under_way:
        assert each is not None
        each.wait()


def start() -> None:
    """Join the processes that torchrun started; DeepSpeed finds the backend ready."""
    deepspeed.comm.comm.cdb = GlooBackend("gloo", deepspeed.constants.default_pg_timeout, None)
    deepspeed.init_distributed("gloo")
