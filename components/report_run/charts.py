"""The report's charts, as SVG that stands in the page itself."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#7a7f87"
"""Legible on light and on dark ground."""
TRAINING, VALIDATION = "#2f7ed8", "#e0702b"


def loss_curves(points: list[dict[str, Any]]) -> str:
    """Training and validation loss by step."""
    figure, axes = _figure("Loss")
    _line(axes, points, "loss", "training", TRAINING, marker="")
    _line(axes, points, "eval_loss", "validation", VALIDATION, marker="o")
    return _svg(figure, axes)


def score_curves(points: list[dict[str, Any]]) -> str:
    """Validation accuracy and macro F1 by step."""
    figure, axes = _figure("Validation")
    _line(axes, points, "eval_accuracy", "accuracy", TRAINING, marker="o")
    _line(axes, points, "eval_macro_f1", "macro F1", VALIDATION, marker="s")
    return _svg(figure, axes)


def learning_rate_curve(points: list[dict[str, Any]]) -> str:
    """Learning rate by step."""
    figure, axes = _figure("Learning rate")
    _line(axes, points, "learning_rate", "learning rate", TRAINING, marker="")
    return _svg(figure, axes)


def _line(
    axes: Any, points: list[dict[str, Any]], key: str, label: str, colour: str, marker: str
) -> None:
    steps = [point["step"] for point in points if key in point]
    values = [point[key] for point in points if key in point]
    axes.plot(steps, values, color=colour, marker=marker, markersize=4, label=label)


def _figure(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.set_xlabel("step", color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=INK, alpha=0.2)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    return figure, axes


def _svg(figure: Figure, axes: Any) -> str:
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    buffer = io.StringIO()
    # Text stays text, and ids are stable: the same run gives the same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "finegate"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]
