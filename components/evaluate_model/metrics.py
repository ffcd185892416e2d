"""Metrics of class probabilities against labels, by scikit-learn."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def classification_metrics(truth: Ints, probabilities: Floats, labels: list[str]) -> dict[str, Any]:
    """Metrics for true label ids [N] and probabilities [N, C], as plain JSON values.

    Averages over classes and ROC-AUC (one against the rest) count the classes that occur in
    `truth`; ROC-AUC is None when fewer than two occur.
    """
    classes = np.arange(len(labels))
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        truth, predicted, labels=classes, zero_division=0
    )
    present = support > 0
    return {
        "rows": len(truth),
        "accuracy": float(sk.accuracy_score(truth, predicted)),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_precision": float(precision[present].mean()),
        "macro_recall": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "mcc": float(sk.matthews_corrcoef(truth, predicted)),
        "log_loss": float(sk.log_loss(truth, _rows_sum_to_one(probabilities), labels=classes)),
        "roc_auc": _roc_auc(truth, probabilities, present),
        "classes": {
            label: {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "support": int(support[index]),
            }
            for index, label in enumerate(labels)
        },
        "confusion": sk.confusion_matrix(truth, predicted, labels=classes).tolist(),
    }


def roc_points(truth: Ints, probabilities: Floats, most: int = 200) -> dict[str, list[float]]:
    """The ROC curve of the second of two classes, thinned to `most` points.

    scikit-learn's first threshold is infinite, which JSON has no word for: it becomes 1.
    """
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


def _roc_auc(truth: Ints, probabilities: Floats, present: npt.NDArray[np.bool_]) -> float | None:
    if present.sum() < 2:
        return None
    areas = [
        sk.roc_auc_score(truth == index, probabilities[:, index])
        for index in np.flatnonzero(present)
    ]
    return float(np.mean(areas))
