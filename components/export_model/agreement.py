"""How far a backend agrees with the PyTorch reference, and whether that is enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.export_model.settings import ExportSettings
from serving.classifier import Floats
from serving.settings import BackendName

Bools = npt.NDArray[np.bool_]

REDUCED: frozenset[BackendName] = frozenset({"openvino-bf16", "openvino-int8", "pytorch-cuda-bf16"})
"""Backends that compute with less than fp32."""


@dataclass(frozen=True)
class Rows:
    """The texts on which backends are compared."""

    texts: Sequence[str]
    pairs: Sequence[str] | None
    truth: Bools | None
    """Which labels apply, of shape [rows, labels]; None for a regression."""


def judged(
    name: BackendName,
    reference: Floats,
    scores: Floats,
    problem_type: str,
    truth: Bools | None,
    settings: ExportSettings,
) -> dict[str, Any]:
    """The entry of serving.json for a backend: its agreement, `admitted`, and a sentence why.

    `tolerance` in it holds the bounds, named by what they bound.
    """
    difference = float(np.abs(scores - reference).max())
    entry: dict[str, Any] = {"backend": name, "rows": len(scores), "largest_difference": difference}
    if name not in REDUCED:
        # A regression's values have any size, and fp32 rounds in proportion to it.
        scale = max(1.0, float(np.abs(reference).max())) if truth is None else 1.0
        allowed = settings.tolerance * scale
        admitted = difference <= allowed
        what = "values" if truth is None else "probabilities"
        why = f"{what} differ by {difference:.1e} at most, {allowed:.0e} allowed"
        bounds = {"largest_difference": allowed}
        return {**entry, "tolerance": bounds, "admitted": admitted, "why": why}
    if truth is None:
        why = "a regression has no labels by which reduced precision could be judged"
        return {**entry, "admitted": False, "why": why}
    ours, theirs = _decided(scores, problem_type), _decided(reference, problem_type)
    flips = float((ours != theirs).any(axis=1).mean())
    entry["flips"] = flips
    entry["tolerance"] = {"flips": settings.flips, "accuracy_loss": settings.accuracy_loss}
    entry["accuracy"] = float((ours == truth).all(axis=1).mean())
    entry["reference_accuracy"] = float((theirs == truth).all(axis=1).mean())
    loss = entry["reference_accuracy"] - entry["accuracy"]
    admitted = flips <= settings.flips and loss <= settings.accuracy_loss
    why = (
        f"{flips:.2%} of the labels change, {settings.flips:.2%} allowed; accuracy "
        f"{entry['accuracy']:.4f} after {entry['reference_accuracy']:.4f}, a loss of "
        f"{settings.accuracy_loss} allowed"
    )
    return {**entry, "admitted": admitted, "why": why}


def _decided(scores: Floats, problem_type: str) -> Bools:
    """Which labels are answered, of shape [rows, labels]."""
    decided: Bools = np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)]
    if problem_type == "multi_label_classification":
        np.greater_equal(scores, 0.5, out=decided)
    return decided
