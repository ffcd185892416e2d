"""What MFU is computed from: operations and peaks."""

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification

from components.finetune_model.throughput import attention_flops, flops_a_token, named_peak


def test_operations_are_those_of_the_weights_that_are_multiplied() -> None:
    config = AutoConfig.for_model(
        "bert",
        vocab_size=50,
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        num_labels=2,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    square, norm = 4 * 4 + 4, 4 + 4
    layer = 4 * square + norm + (4 * 8 + 8) + (8 * 4 + 4) + norm
    head = square + (4 * 2 + 2)
    assert flops_a_token(model) == 6 * (norm + layer + head)
    model.bert.pooler.requires_grad_(False)
    assert flops_a_token(model) == 6 * (norm + layer + head) - 2 * square
    assert attention_flops(config) == 12 * 1 * 4


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", None),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", None),
        ("Tesla T4", None),
    ],
)
def test_a_peak_is_that_of_the_device_and_not_of_one_with_a_longer_name(
    name: str, peak: float | None
) -> None:
    assert named_peak(name) == peak
