"""Intervals that hold the truth with 95 % confidence."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from components.report_run.scored import Scored

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate between its bounds; None where nothing was counted."""

    value: float | None
    low: float | None
    high: float | None


def share(count: int, total: int) -> Interval:
    """A share of rows with its exact interval (Clopper and Pearson 1934)."""
    if not total:
        return Interval(None, None, None)
    exact = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="exact")
    return Interval(count / total, float(exact.low), float(exact.high))


def paired_difference(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> Interval:
    """The difference of two accuracies on the same rows.

    Wald's interval after half a row is added to each of the four outcomes (Agresti and Min 2005,
    https://doi.org/10.1002/sim.1781), which holds what it promises on few rows too.
    """
    won, lost, rows = int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours)
    if not rows:
        return Interval(None, None, None)
    middle = (won - lost) / (rows + 2)
    variance = ((won + lost + 1) - (won - lost) ** 2 / (rows + 2)) / (rows + 2) ** 2
    half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * math.sqrt(variance)
    return Interval((won - lost) / rows, max(middle - half, -1.0), min(middle + half, 1.0))


def mean_difference(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> Interval:
    """The difference of two means on the same rows, by Student's t on the differences."""
    differences = np.asarray(ours, dtype=np.float64) - theirs
    if len(differences) < 2:
        return Interval(float(differences.mean()) if len(differences) else None, None, None)
    middle = float(differences.mean())
    error = float(stats.sem(differences))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(differences) - 1)) * error
    return Interval(middle, middle - half, middle + half)


def by_class(scored: Scored) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label with intervals, and the counts behind them.

    With J = TP / (TP + FP + FN), F1 = 2 J / (1 + J) grows with J, which is a share of rows. A
    regression has no labels: [].
    """
    if scored.problem_type == "regression":
        return []
    several = scored.problem_type == "multi_label_classification"
    truths, guesses = (
        [set(each) if several else {each} for each in scored.rows[column]]
        for column in ("label", "predicted")
    )
    table = []
    for label in scored.labels:
        truth = np.array([label in each for each in truths])
        guess = np.array([label in each for each in guesses])
        right, missed = int((truth & guess).sum()), int((truth & ~guess).sum())
        wrong = int((guess & ~truth).sum())
        overlap = share(right, right + missed + wrong)
        table.append(
            {
                "label": label,
                "rows": right + missed,
                "precision": share(right, right + wrong),
                "recall": share(right, right + missed),
                "f1": Interval(*(None if j is None else 2 * j / (1 + j) for j in overlap)),
                "right": right,
                "missed": missed,
                "wrong": wrong,
            }
        )
    return table
