"""Each kind of problem's loss and scores.

Labels are class numbers [N], rows of 0.0 and 1.0 [N, C], or numbers [N].
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from components.finetune_model.settings import TrainingSettings
from components.problem_types import ProblemType
from serving.errors import InputError


def check(problem: ProblemType, settings: TrainingSettings) -> None:
    """Raise InputError for settings that mean nothing for this kind of problem."""
    if problem == "single_label_classification":
        return
    words = problem.replace("_", " ")
    for name, given in (
        ("class_weights", settings.class_weights != "none"),
        ("label_smoothing", settings.label_smoothing > 0),
    ):
        if given:
            raise InputError(
                f"training.{name} is for one label a row, but this dataset is {words}. Leave it "
                "out."
            )
    if problem == "regression" and settings.best_metric not in (None, "loss"):
        raise InputError(
            f"training.best_metric is {settings.best_metric}, but a regression has no classes. "
            "Set it to loss."
        )


def best_metric(problem: ProblemType, settings: TrainingSettings) -> str:
    """The score that decides which weights win."""
    return settings.best_metric or ("loss" if problem == "regression" else "macro_f1")


def losses(
    problem: ProblemType, logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Loss of each row [N] of fp32 logits [N, C], as transformers' own models compute it."""
    if problem == "regression":
        return functional.mse_loss(logits.squeeze(-1), labels.float(), reduction="none")
    if problem == "multi_label_classification":
        return functional.binary_cross_entropy_with_logits(
            logits, labels.float(), reduction="none"
        ).mean(-1)
    return functional.cross_entropy(
        logits, labels, reduction="none", label_smoothing=label_smoothing
    )


def scores(
    problem: ProblemType, logits: npt.NDArray[np.float32], labels: npt.NDArray[Any]
) -> dict[str, float]:
    """Mean loss without weights and smoothing, accuracy and macro F1.

    For several labels a row a class applies above 0.5 and accuracy is that of whole rows. For a
    regression the loss, its mean squared error, is the only score.
    """
    from sklearn.metrics import accuracy_score, f1_score

    each = losses(problem, torch.from_numpy(logits), torch.from_numpy(labels))
    loss = {"loss": each.double().mean().item()}
    if problem == "regression":
        return loss
    several = problem == "multi_label_classification"
    truth: Any = labels.astype(np.int64)
    predicted: Any = (logits > 0).astype(np.int64) if several else np.argmax(logits, axis=-1)
    return {
        **loss,
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
    }
