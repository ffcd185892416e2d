"""The mix of a model's answers, counted alike where it is evaluated and where it answers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from serving.classifier import Floats

Ints = npt.NDArray[np.int64]

CONFIDENCE_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Upper bounds, inclusive, between which confidences are counted."""


class Reference(BaseModel):
    """Labels and confidences on an evaluation's test rows: what live traffic is compared with."""

    model_config = ConfigDict(frozen=True)

    rows: PositiveInt
    labels: dict[str, NonNegativeInt]
    """Answers by label."""
    confidence: dict[float, NonNegativeInt]
    """Rows whose best label has at most this probability: cumulative, as in a Prometheus
    histogram."""


def reference_of(labels: Sequence[str], problem_type: str, scores: Floats) -> Reference | None:
    """The mix of answers with scores of the shape [rows, labels]; None for a regression."""
    counts = label_counts(problem_type, scores)
    if counts is None:
        return None
    best = np.sort(scores.max(axis=1).astype(np.float64))
    below = np.searchsorted(best, CONFIDENCE_BOUNDS, side="right")
    return Reference(
        rows=len(scores),
        labels=dict(zip(labels, counts.tolist(), strict=True)),
        confidence=dict(zip(CONFIDENCE_BOUNDS, below.tolist(), strict=True)),
    )


def label_counts(problem_type: str, scores: Floats) -> Ints | None:
    """How often each label is answered; scores have the shape [texts, labels].

    A multi-label answer counts each label of at least 0.5. A regression has no labels: None.
    """
    if problem_type == "regression":
        return None
    if problem_type == "multi_label_classification":
        several: Ints = (scores >= 0.5).sum(axis=0)
        return several
    return np.bincount(scores.argmax(axis=1), minlength=scores.shape[1])
