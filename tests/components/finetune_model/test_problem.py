"""Losses and class weights, against numbers computed by hand."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from components.finetune_model.batches import TokenRows
from components.finetune_model.problem import losses, scores
from components.finetune_model.settings import TrainingSettings
from components.finetune_model.training import class_weights

CERTAIN = math.log(3)
"""The logit that makes a probability of 3/4 against 0, and odds of 3 to 1."""


def test_the_loss_of_a_class_is_the_logarithm_of_its_probability_smoothed_over_all() -> None:
    logits, labels = torch.tensor([[CERTAIN, 0.0], [CERTAIN, 0.0]]), torch.tensor([0, 1])
    right, wrong = math.log(4 / 3), math.log(4)
    problem = "single_label_classification"
    assert losses(problem, logits, labels).tolist() == pytest.approx([right, wrong])
    smoothed = [0.9 * right + 0.1 * wrong, 0.1 * right + 0.9 * wrong]  # 0.2, half to each class
    assert losses(problem, logits, labels, 0.2).tolist() == pytest.approx(smoothed)
    found = scores(problem, logits.numpy(), labels.numpy())
    assert found == pytest.approx(
        {"loss": (right + wrong) / 2, "accuracy": 1 / 2, "macro_f1": (2 / 3 + 0) / 2}
    )


def test_several_labels_are_as_many_questions_and_a_regression_is_squared_errors() -> None:
    logits = torch.tensor([[CERTAIN, CERTAIN]])
    several = losses("multi_label_classification", logits, torch.tensor([[1.0, 0.0]]))
    assert several.tolist() == pytest.approx([(math.log(4 / 3) + math.log(4)) / 2])
    numbers = np.array([[1.0], [5.0]], np.float32), np.array([3.0, 4.0], np.float32)
    assert losses("regression", *map(torch.from_numpy, numbers)).tolist() == [4.0, 1.0]
    assert scores("regression", *numbers) == {"loss": 2.5}


def test_balanced_classes_count_alike_and_rows_as_one_on_the_average(tmp_path: Path) -> None:
    labels = [0, 0, 0, 1]
    table = pa.table({"input_ids": pa.array([[1]] * 4, pa.list_(pa.int32())), "labels": labels})
    pq.write_table(table, tmp_path / "rows.parquet")
    rows = TokenRows(tmp_path)
    assert class_weights(rows, 3, TrainingSettings()) is None
    weights = class_weights(rows, 3, TrainingSettings(class_weights="balanced"))
    assert weights is not None
    assert weights.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1), 0])  # the third has no row
    assert weights[labels].mean() == pytest.approx(1)
