"""Confidence bounds of metrics.

Shares (accuracy, recall, precision, and F1 of a class, which is a share in disguise) have the exact
binomial bound of Clopper and Pearson 1934. What is no share is resampled by the Bayesian bootstrap
(Rubin 1981), which draws shares of rows from a Dirichlet distribution instead of counting rows
drawn with replacement. Some prior mass keeps it honest where an error was never seen: the plain
bootstrap of 20 rows without an error says that there are none.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn import metrics as sk

Array = npt.NDArray[np.float64]

DRAWS = 4000
ROW_DRAWS = 400
"""Draws of the metrics that need every row, each of which takes milliseconds."""
CELLS_A_TURN = 1_000_000
WORST_ROW = 0.25
"""Prior mass of a positive row ranked below all others, and of a negative one above them, in an
area under a curve. Without it a sample that is ranked perfectly would prove an area of 1. Simulated
bounds (test_statistics.py) are beyond the truth no more often than promised."""


def share_lower(count: float, total: float, confidence: float) -> float:
    """The exact lower bound of a binomial share, 0 to 1."""
    if count <= 0:
        return 0.0
    return float(stats.beta.ppf(1 - confidence, count, total - count + 1))


def paired_differences(won: int, lost: int, rows: int) -> Array:
    """Draws [DRAWS] of the difference in accuracy, from the rows where one alone is right.

    One more row is taken as lost, as in the exact lower bound of a single share: where few rows
    differ, symmetric prior mass lets models worse by the margin pass twice as often as promised.
    """
    counts = np.array([won, lost + 1, rows - won - lost], dtype=np.float64)
    drawn = np.random.default_rng(0).standard_gamma(counts, size=(DRAWS, 3))
    difference: Array = (drawn[:, 0] - drawn[:, 1]) / drawn.sum(axis=1)
    return difference


def class_lower(confusion: list[list[int]], index: int, name: str, confidence: float) -> float:
    """The lower bound of a class's precision, recall or F1.

    With J = TP / (TP + FP + FN), F1 = 2 J / (1 + J) grows with J, which is a share of rows.
    """
    counted = np.array(confusion)
    right, truth, predicted = (
        counted[index, index],
        counted[index].sum(),
        counted[:, index].sum(),
    )
    if name == "f1":
        share = share_lower(right, truth + predicted - right, confidence)
        return 2 * share / (1 + share)
    return share_lower(right, truth if name == "recall" else predicted, confidence)


def count_metrics(confusion: Array) -> dict[str, Array]:
    """Metrics [N] of confusion matrices [N, C, C] (rows: truth), named as the evaluation does.

    As there, averages count the classes that occur, and what is divided by nothing is 0.
    """
    right = np.einsum("nii->ni", confusion)
    truth, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    total = truth.sum(axis=1)
    precision, recall = _ratio(right, predicted), _ratio(right, truth)
    f1 = _ratio(2 * right, truth + predicted)
    present = truth[0] > 0
    # Gorodkin's R_K, as sklearn.metrics.matthews_corrcoef computes it.
    correct = right.sum(axis=1)
    agreement = correct * total - (truth * predicted).sum(axis=1)
    spread = (total**2 - (truth**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    return {
        "accuracy": correct / total,
        "balanced_accuracy": recall[:, present].mean(axis=1),
        "macro_precision": precision[:, present].mean(axis=1),
        "macro_recall": recall[:, present].mean(axis=1),
        "macro_f1": f1[:, present].mean(axis=1),
        "mcc": _ratio(agreement, np.sqrt(np.maximum(spread, 0))),
    }


def count_draws(confusion: list[list[int]]) -> dict[str, Array]:
    """`count_metrics` of DRAWS matrices that could have been counted instead of this one.

    One more row is taken as wrong, shared out as the classes are: as in `paired_differences`.
    """
    counted = np.array(confusion, dtype=np.float64)
    size = len(counted)
    share = counted.sum(axis=1, keepdims=True) / counted.sum()
    prior = np.where(np.eye(size, dtype=bool), 0.0, share / max(size - 1, 1))
    chance = np.random.default_rng(0)
    parts, left = [], DRAWS
    while left:
        turn = min(left, max(CELLS_A_TURN // size**2, 1))
        drawn = chance.standard_gamma(counted + prior, size=(turn, size, size))
        parts.append(count_metrics(drawn))
        left -= turn
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def row_draws(truth: npt.NDArray[Any], probabilities: Array, name: str) -> Array:
    """Draws of a metric that needs every row: log_loss, calibration_error, roc_auc or pr_auc.

    `truth` are label ids [N], `probabilities` [N, C]. Each draw weighs the rows anew; for areas
    also a positive and a negative row that are ranked as wrongly as can be.
    """
    function: Callable[..., float] = {
        "log_loss": _log_loss,
        "calibration_error": _calibration_error,
        "roc_auc": _area(sk.roc_auc_score),
        "pr_auc": _area(sk.average_precision_score),
    }[name]
    chance = np.random.default_rng(0)
    weights = chance.standard_exponential((ROW_DRAWS, len(truth)))
    if name.endswith("_auc"):
        weights = np.hstack([weights, chance.standard_gamma(WORST_ROW, (ROW_DRAWS, 2))])
    return np.array([function(truth, probabilities, each) for each in weights])


def _log_loss(truth: npt.NDArray[Any], probabilities: Array, weights: Array) -> float:
    chosen = probabilities[np.arange(len(truth)), truth] / probabilities.sum(axis=1)
    losses = -np.log(np.maximum(chosen, np.finfo(np.float64).eps))
    return float(np.average(losses, weights=weights))


def _calibration_error(truth: npt.NDArray[Any], probabilities: Array, weights: Array) -> float:
    confidence = probabilities.max(axis=1)
    gaps = (probabilities.argmax(axis=1) == truth) - confidence
    bins = np.minimum((confidence * 15).astype(int), 14)  # as evaluate_model's calibration_error
    return float(np.abs(np.bincount(bins, weights=gaps * weights)).sum() / weights.sum())


def _area(function: Callable[..., float]) -> Callable[..., float]:
    def mean_area(truth: npt.NDArray[Any], probabilities: Array, weights: Array) -> float:
        ids = [i for i in range(probabilities.shape[1]) if 0 < (truth == i).sum() < len(truth)]
        areas = []
        for i in ids:
            applies = np.append(truth == i, [True, False])
            scores = np.append(probabilities[:, i], [-1.0, 2.0])
            areas.append(function(applies, scores, sample_weight=weights))
        return float(np.mean(areas))

    return mean_area


def _ratio(above: Array, below: Array) -> Array:
    result: Array = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return result
