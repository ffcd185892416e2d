"""A micro-batch's rows as the model's inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from serving.families import filling


class Padding:
    """Pads rows to the longest of them, as the endpoint does.

    The tokenizer's own `pad` walks through lists, for which a fast GPU waits in every step.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
        self._fill, self._left = filling(tokenizer, config)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Inputs with `attention_mask`, int64 [rows, tokens], and `labels` [rows] or [rows, C].

        A row has an array [its tokens] for each input, and `labels`.
        """
        lengths = np.array([len(row["input_ids"]) for row in rows])
        places = np.arange(lengths.max())
        kept = (places[::-1] if self._left else places) < lengths[:, None]
        batch = {"attention_mask": torch.from_numpy(kept.astype(np.int64))}
        for name in rows[0].keys() - {"labels"}:
            values = np.full(kept.shape, self._fill.get(name, 0), dtype=np.int64)
            values[kept] = np.concatenate([row[name] for row in rows])
            batch[name] = torch.from_numpy(values)
        batch["labels"] = torch.tensor([row["labels"] for row in rows])
        return batch
