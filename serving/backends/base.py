"""What a backend is: padded model inputs in, logits out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.settings import BackendName

Inputs = dict[str, npt.NDArray[np.int64]]
"""Model inputs by name (`input_ids`, `attention_mask`, ...), each of shape [batch, tokens]."""

PAD_TO_MULTIPLE_OF = 16
"""On CPUs. A vector of AVX-512 holds so many numbers in fp32, so sums over a row's tokens have the
same order however far the row is padded (tested)."""


class Backend(Protocol):
    """Runs the model's forward pass."""

    name: BackendName
    """Its name in serving.json, metrics and benchmarks."""
    batch_tokens: int
    """Tokens to compute in one pass: as few as use the hardware fully, for latency's sake."""

    packs: bool
    """Whether padding is left out of what is computed, so that texts of any lengths go together."""

    pad_to_multiple_of: int
    """Texts are padded to a multiple of so many tokens."""

    records: bool
    """Whether the first pass of a padded length takes as long as many, since it is recorded."""

    lanes: int
    """Forward passes that may run at the same time, each with its part of the cores."""

    def logits(self, inputs: Inputs, lane: int | None = None) -> npt.NDArray[np.float32]:
        """Logits of shape [batch, outputs], the same to the bit in any lane.

        `lane` is below `lanes` and busy with nothing else. None takes all cores; of such passes
        one runs at a time, and passes in lanes may begin beside it.
        """
