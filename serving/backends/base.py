"""What a backend is: padded model inputs in, logits out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.settings import BackendName

Inputs = dict[str, npt.NDArray[np.int64]]
"""Model inputs by name (`input_ids`, `attention_mask`, ...), each of shape [batch, tokens]."""


class Backend(Protocol):
    """Runs the model's forward pass."""

    name: BackendName
    """Its name in serving.json, metrics and benchmarks."""
    batch_tokens: int
    """Padded tokens in one forward pass: as few as use the hardware fully, for latency's sake."""

    def logits(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Logits of shape [batch, outputs]."""
