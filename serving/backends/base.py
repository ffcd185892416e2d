"""What a backend is: padded model inputs in, logits out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch


class Backend(Protocol):
    """Runs the model's forward pass."""

    name: str
    """Short name for the release, metrics and benchmarks."""

    def logits(self, inputs: dict[str, torch.Tensor]) -> npt.NDArray[np.float32]:
        """Logits of shape [batch, outputs] for int64 inputs of shape [batch, tokens]."""
