"""The number of a metric that the gate compares: what was observed, or its confidence bound."""

from typing import Any

import numpy as np
import pandas as pd

from components.gate_model.bounds import class_lower, count_draws, row_draws, share_lower
from components.problem_types import SINGLE
from serving.errors import InputError

COUNTED = ("balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "mcc")


class MetricBounds:
    """Metrics of one evaluation, each observed or at the bound that its check needs."""

    def __init__(self, facts: dict[str, Any], rows: pd.DataFrame, confidence: float) -> None:
        """`facts` is the evaluation's manifest, `rows` its predictions; confidence 0 takes what was
        observed. Raises InputError for another confidence without single labels."""
        self._metrics, self._labels = facts["metrics"], facts["labels"]
        self._rows, self._confidence = rows, confidence
        if confidence and facts["problem_type"] != SINGLE:
            raise InputError(
                f"gate.confidence needs single labels, and this is a {facts['problem_type']}. "
                "Take it out: what was observed is compared then."
            )
        self._counts = count_draws(self._metrics["confusion"]) if confidence else {}

    def title(self, name: str, side: str) -> str:
        """What a check of it is called; `side` is lower or upper."""
        return f"{name}, {side} bound" if self._confidence else name

    def lower(self, name: str) -> float | None:
        """For a metric that must not be lower; None where it is undefined."""
        return self._at(name, 1 - self._confidence)

    def upper(self, name: str) -> float | None:
        """For a metric that must not be higher; None where it is undefined."""
        return self._at(name, self._confidence)

    def lower_of_class(self, name: str, label: str) -> float:
        """For a class's precision, recall or F1."""
        if not self._confidence:
            return float(self._metrics["classes"][label][name])
        return class_lower(
            self._metrics["confusion"], self._labels.index(label), name, self._confidence
        )

    def _at(self, name: str, quantile: float) -> float | None:
        observed: float | None = self._metrics[name]
        if not self._confidence or observed is None:
            return observed
        if name == "accuracy":
            return share_lower(observed * len(self._rows), len(self._rows), self._confidence)
        if name in COUNTED:
            return float(np.quantile(self._counts[name], quantile))
        truth = self._rows["label"].map(self._labels.index).to_numpy(dtype=np.int64)
        probabilities = np.stack(self._rows["probabilities"].to_list()).astype(np.float64)
        return float(np.quantile(row_draws(truth, probabilities, name), quantile))
