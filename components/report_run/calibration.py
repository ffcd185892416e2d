"""How often what is said with a probability is true."""

from dataclasses import dataclass

import numpy as np

from components.report_run.intervals import Interval, share
from components.report_run.scored import Scored

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Predictions whose probability lies between two bounds."""

    low: float
    high: float
    rows: int
    confidence: float
    """Their mean probability."""
    true: Interval
    """The share of them that is true."""


def calibration(scored: Scored) -> list[Bin]:
    """The bins that hold predictions, by rising probability.

    Of single labels each row's best one counts; with several labels a row, every label of every
    row. A regression says no probabilities: [].
    """
    if scored.problem_type == "regression":
        return []
    probabilities = np.stack(scored.rows["probabilities"].to_list()).astype(np.float64)
    if scored.problem_type == "multi_label_classification":
        truths = [set(each) for each in scored.rows["label"]]
        said = probabilities.ravel()
        true = np.array([[label in t for label in scored.labels] for t in truths]).ravel()
    else:
        said = probabilities.max(axis=1)
        true = (scored.rows["label"] == scored.rows["predicted"]).to_numpy(dtype=bool)
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    return [
        Bin(
            i / BINS,
            (i + 1) / BINS,
            int((place == i).sum()),
            float(said[place == i].mean()),
            share(int(true[place == i].sum()), int((place == i).sum())),
        )
        for i in range(BINS)
        if (place == i).any()
    ]
