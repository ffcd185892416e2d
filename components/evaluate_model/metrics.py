"""Metrics of predictions against labels, by scikit-learn: one function a kind of problem."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn import metrics as sk

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CALIBRATION_BINS = 15


def classification_metrics(truth: Ints, probabilities: Floats, labels: list[str]) -> dict[str, Any]:
    """Metrics for true label ids [N] and probabilities [N, C], as plain JSON values.

    Averages over classes and the areas (one against the rest) count the classes that occur in
    `truth`; areas are None when fewer than two occur.
    """
    classes = np.arange(len(labels))
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        truth, predicted, labels=classes, zero_division=0
    )
    present = support > 0
    one_hot = truth[:, None] == classes
    return {
        "rows": len(truth),
        "accuracy": float(sk.accuracy_score(truth, predicted)),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_precision": float(precision[present].mean()),
        "macro_recall": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "mcc": float(sk.matthews_corrcoef(truth, predicted)),
        "log_loss": float(sk.log_loss(truth, _rows_sum_to_one(probabilities), labels=classes)),
        "calibration_error": calibration_error(truth, probabilities),
        **_areas(one_hot, probabilities),
        "classes": _by_class(labels, precision, recall, f1, support),
        "confusion": sk.confusion_matrix(truth, predicted, labels=classes).tolist(),
    }


def multi_label_metrics(truth: Bools, probabilities: Floats, labels: list[str]) -> dict[str, Any]:
    """Metrics for labels that apply or not, bool [N, C], and probabilities [N, C].

    A label is predicted from 0.5 on. `accuracy` is that of the whole set of a row's labels;
    averages and areas count the labels that occur, areas those that are also absent somewhere.
    Averages are 0 where none occurs, as scikit-learn's are.
    """
    predicted = probabilities >= 0.5
    # Label by label: scikit-learn takes a single column for two classes.
    scores = [
        sk.precision_recall_fscore_support(t, p, average="binary", zero_division=0)[:3]
        for t, p in zip(truth.T, predicted.T, strict=True)
    ]
    precision, recall, f1 = np.array(scores).T
    support = truth.sum(axis=0)
    present = support > 0 if support.any() else slice(None)  # all 0 then
    likely = np.clip(probabilities.astype(np.float64), 1e-15, 1 - 1e-15)
    return {
        "rows": len(truth),
        "accuracy": float((truth == predicted).all(axis=1).mean()),
        "hamming_loss": float((truth != predicted).mean()),
        "micro_f1": float(sk.f1_score(truth.ravel(), predicted.ravel(), zero_division=0)),
        "macro_precision": float(precision[present].mean()),
        "macro_recall": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "log_loss": float(-np.where(truth, np.log(likely), np.log1p(-likely)).mean()),
        **_areas(truth, probabilities),
        "classes": _by_class(labels, precision, recall, f1, support),
    }


def regression_metrics(truth: npt.NDArray[np.float64], values: Floats) -> dict[str, Any]:
    """Metrics for numbers [N] against predicted numbers [N]; rank correlation is Spearman's.

    R2 and the correlation are None where all true numbers (or all predictions) are the same.
    """
    spread = np.ptp(truth) > 0
    return {
        "rows": len(truth),
        "mae": float(sk.mean_absolute_error(truth, values)),
        "rmse": float(sk.root_mean_squared_error(truth, values)),
        "r2": float(sk.r2_score(truth, values)) if spread else None,
        "rank_correlation": (
            float(stats.spearmanr(truth, values).statistic)
            if spread and np.ptp(values) > 0
            else None
        ),
        "classes": {},
    }


def calibration_error(truth: Ints, probabilities: Floats) -> float:
    """Expected calibration error of the best label, in bins of equal width.

    The mean over rows of |accuracy - confidence| in the row's bin (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599, equation 3).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence.astype(np.float64))
    return float(np.abs(gaps).sum() / len(truth))


def roc_points(
    truth: Ints, probabilities: Floats, most: int = 200
) -> dict[str, list[float]] | None:
    """The ROC curve of the second of two classes, thinned to `most` points.

    None where only one of them occurs, as for the areas. scikit-learn's first threshold is
    infinite, which JSON has no word for: it becomes 1.
    """
    if len(np.unique(truth)) < 2:
        return None
    fpr, tpr, thresholds = sk.roc_curve(truth == 1, probabilities[:, 1])
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(most, len(fpr))).round().astype(int))
    return {
        "fpr": [float(value) for value in fpr[kept]],
        "tpr": [float(value) for value in tpr[kept]],
        "thresholds": [min(float(value), 1.0) for value in thresholds[kept]],
    }


def _rows_sum_to_one(probabilities: Floats) -> npt.NDArray[np.float64]:
    values = probabilities.astype(np.float64)
    result: npt.NDArray[np.float64] = values / values.sum(axis=1, keepdims=True)
    return result


def _areas(truth: Bools, probabilities: Floats) -> dict[str, float | None]:
    """Areas under the ROC and the precision-recall curve, means over the labels that vary."""
    varying = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    if not len(varying):
        return {"roc_auc": None, "pr_auc": None}
    columns = [(truth[:, index], probabilities[:, index]) for index in varying]
    return {
        "roc_auc": float(np.mean([sk.roc_auc_score(t, p) for t, p in columns])),
        "pr_auc": float(np.mean([sk.average_precision_score(t, p) for t, p in columns])),
    }


def _by_class(labels: list[str], precision: Any, recall: Any, f1: Any, support: Any) -> Any:
    return {
        label: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
        }
        for index, label in enumerate(labels)
    }
