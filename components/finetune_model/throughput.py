"""How fast training is: rows, tokens and floating-point operations a second, and memory."""

import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from transformers import PretrainedConfig, PreTrainedModel

PEAK_BF16 = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "B200": 2250e12,
}
"""Dense bf16 FLOP/s by words of the device's name, from NVIDIA's data sheets."""


def flops_a_token(model: PreTrainedModel) -> float:
    """Forward and backward FLOPs for a token, without attention's own products.

    6 a weight (Kaplan et al. 2020, arXiv:2001.08361, section 2.1), 4 a frozen one, whose gradient
    is not computed; embeddings are looked up, not multiplied. Attention adds 12 * layers * hidden
    * length, see `attention_flops`.
    """
    embeddings = {
        id(weight)
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding)
        for weight in module.parameters(recurse=False)
    }
    return float(
        sum(
            (6 if weight.requires_grad else 4) * getattr(weight, "ds_numel", weight.numel())
            for weight in model.parameters()
            if id(weight) not in embeddings
        )
    )


def attention_flops(config: PretrainedConfig) -> float:
    """FLOPs a token and a token of length: Chowdhery et al. 2022 (arXiv:2204.02311), appendix B."""
    return float(12 * config.num_hidden_layers * config.hidden_size)


def peak_flops(device: torch.device) -> float | None:
    """The device's dense bf16 peak in FLOP/s; None for a CPU or a device that is not listed."""
    if device.type != "cuda":
        return None
    return named_peak(torch.cuda.get_device_name(device))


def named_peak(name: str) -> float | None:
    """The peak of the device that NVIDIA calls so; None when it is not listed."""
    # Whole words: an L40 is no L4, an A10G no A10.
    found = (peak for words, peak in PEAK_BF16.items() if re.search(rf"\b{words}\b", name))
    return next(found, None)


class Meter:
    """Counts rows and tokens between two calls of `rates`; evaluation does not count."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config()
        self._token_flops = flops_a_token(model)
        self._attention_flops = attention_flops(config)
        self._counts = [0.0, 0.0, 0.0]
        self._began = time.monotonic()

    def count(self, rows: int, tokens: int) -> None:
        """Add a micro-batch of this process; padding is no token."""
        self._counts[0] += rows
        self._counts[1] += tokens
        self._counts[2] += tokens * (
            self._token_flops + self._attention_flops * tokens / max(rows, 1)
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time within."""
        paused = time.monotonic()
        yield
        self._began += time.monotonic() - paused

    def rates(self, device: torch.device) -> dict[str, float]:
        """Rates of all processes together since the last call, and this process's peak memory."""
        seconds = time.monotonic() - self._began
        counts = torch.tensor(self._counts, device=device, dtype=torch.float32)
        dist.all_reduce(counts)
        rows, tokens, flops = counts.tolist()
        self._counts, self._began = [0.0, 0.0, 0.0], time.monotonic()
        rates = {
            "rows_per_second": round(rows / seconds, 2),
            "tokens_per_second": round(tokens / seconds, 1),
            "memory_gib": round(_peak_memory(device) / 2**30, 3),
        }
        peak = peak_flops(device)
        if peak is not None:
            rates["mfu"] = round(flops / seconds / (peak * dist.get_world_size()), 4)
        return rates


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
