from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, DataCollatorWithPadding

from components.finetune_model.padding import Padding


@pytest.mark.parametrize(("kind", "side"), [("xlnet", "left"), ("bert", "right")])
@pytest.mark.parametrize("labels", [[0, 2, 1], [0.5, 2.0, 1.0], [[0.0, 1.0], [1.0, 1.0], [0, 0]]])
def test_rows_are_padded_on_the_models_side_as_the_tokenizer_would(
    kind: str, side: str, labels: list[Any], tiny_model: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, padding_side=side)
    tokenizer.pad_token, tokenizer._pad_token_type_id = "[SEP]", 1  # neither is zero
    chance = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {
            "input_ids": chance.integers(5, 40, length, dtype=np.int32),
            "token_type_ids": chance.integers(0, 2, length, dtype=np.int32),
            "labels": label,
        }
        for length, label in zip((3, 9, 6), labels, strict=True)
    ]
    expected = DataCollatorWithPadding(tokenizer)(rows)
    config = AutoConfig.for_model(kind, pad_token_id=tokenizer.pad_token_id)
    padded = Padding(tokenizer, config)(rows)
    assert padded.keys() == expected.keys()
    for name, values in padded.items():
        assert values.dtype == expected[name].dtype, name
        assert torch.equal(values, expected[name]), name
