"""How far a backend agrees with the PyTorch reference, and whether that is enough."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.export_model.settings import ExportSettings
from serving.classifier import Classifier, Floats
from serving.settings import BackendName

REDUCED: frozenset[BackendName] = frozenset({"openvino-int8", "pytorch-cuda-bf16"})
"""Backends that compute with less than fp32."""


@dataclass(frozen=True)
class Rows:
    """The texts on which backends are compared."""

    texts: Sequence[str]
    pairs: Sequence[str] | None
    truth: list[int] | None
    """The label's column for each text; None where a text has not exactly one label."""


def scored(classifier: Classifier, rows: Rows) -> tuple[Floats, float]:
    """Probabilities of shape [rows, labels] and how many texts were classified a second."""
    classifier.classify(rows.texts[:8], rows.pairs[:8] if rows.pairs else None)  # warm-up
    began = time.perf_counter()
    scores = classifier.classify(rows.texts, rows.pairs)
    return scores, len(rows.texts) / (time.perf_counter() - began)


def judged(
    name: BackendName,
    reference: Floats,
    scores: Floats,
    problem_type: str,
    truth: list[int] | None,
    settings: ExportSettings,
) -> dict[str, Any]:
    """The entry of serving.json for a backend: its agreement, `admitted`, and a sentence why."""
    difference = float(np.abs(scores - reference).max())
    entry: dict[str, Any] = {"backend": name, "rows": len(scores), "largest_difference": difference}
    if name not in REDUCED:
        admitted = difference <= settings.tolerance
        why = f"probabilities differ by {difference:.1e} at most, {settings.tolerance:.0e} allowed"
        return {**entry, "admitted": admitted, "why": why}
    if problem_type == "regression":
        why = "a regression has no labels by which reduced precision could be judged"
        return {**entry, "admitted": False, "why": why}
    ours, theirs = _decided(scores, problem_type), _decided(reference, problem_type)
    flips = float((ours != theirs).any(axis=1).mean())
    entry["flips"] = flips
    admitted = flips <= settings.flips
    why = f"{flips:.2%} of the labels change, {settings.flips:.2%} allowed"
    if truth is not None:
        right = np.arange(len(truth)), np.asarray(truth)
        entry["accuracy"] = float(ours[right].mean())
        entry["reference_accuracy"] = float(theirs[right].mean())
        loss = entry["reference_accuracy"] - entry["accuracy"]
        admitted = admitted and loss <= settings.accuracy_loss
        why += (
            f"; accuracy {entry['accuracy']:.4f} after {entry['reference_accuracy']:.4f}, "
            f"a loss of {settings.accuracy_loss} allowed"
        )
    return {**entry, "admitted": admitted, "why": why}


def _decided(scores: Floats, problem_type: str) -> npt.NDArray[np.bool_]:
    """Which labels are answered, of shape [rows, labels]."""
    if problem_type == "multi_label_classification":
        crossed: npt.NDArray[np.bool_] = scores >= 0.5
        return crossed
    best: npt.NDArray[np.bool_] = np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)]
    return best
