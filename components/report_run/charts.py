"""The report's charts: what each shows, as a drawing and as a table."""

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from components.report_run.calibration import Bin
from components.report_run.drawing import FIRST, INK, SECOND, Chart, chart, legend, name_rows
from components.report_run.intervals import Interval
from components.report_run.scored import Scored
from components.report_run.slices import Slice

ROWS_DRAWN = 40
POINTS_DRAWN = 1500
POINTS: dict[str, Any] = {"color": FIRST, "markersize": 5, "capsize": 3, "linewidth": 2}
"""How values with their intervals are drawn."""


def training(points: list[dict[str, Any]]) -> list[Chart]:
    """Loss, validation scores, learning rate and throughput by step, as far as they were logged."""
    charts = [
        _curves(points, "Loss", [("loss", "training"), ("eval_loss", "validation")]),
        _curves(points, "Validation scores", _scores(points)),
        _curves(points, "Learning rate", [("learning_rate", "learning rate")]),
        _curves(points, "Rows a second", [("rows_per_second", "training rows a second")]),
    ]
    return [each for each in charts if each is not None]


def classes(table: list[dict[str, Any]]) -> Chart | None:
    """F1 of each label with its interval; None without labels."""
    drawn = [each for each in table if each["f1"].value is not None][:ROWS_DRAWN]
    if not drawn:
        return None
    with chart(0.34 * len(drawn) + 0.75) as (axes, finished):
        scores = [each["f1"] for each in drawn]
        values = [score.value for score in scores]
        axes.errorbar(values, range(len(drawn)), xerr=_reach(scores), fmt="o", **POINTS)
        name_rows(axes, [each["label"] for each in drawn])
        axes.set_xlabel("F1")
        title = "F1 by class, 95\xa0% intervals"
        rows = [[each["label"], *map(_figure, each["f1"])] for each in drawn]
        return finished(title, ["label", "F1", "from", "to"], rows)


def reliability(bins: list[Bin]) -> Chart | None:
    """Share of true predictions by probability, with intervals; None of a regression."""
    if not bins:
        return None
    with chart(3.1) as (axes, finished):
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, dashes=(4, 3), label="perfect")
        said, true = [b.confidence for b in bins], [b.true.value or 0.0 for b in bins]
        reach = _reach([b.true for b in bins])
        axes.errorbar(said, true, yerr=reach, fmt="o-", label="candidate", **POINTS)
        lowest = min(b.low for b in bins)
        axes.set_xlim(lowest, 1.02)
        axes.set_ylim(-0.02, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("probability that was said")
        axes.set_ylabel("share that is true")
        legend(axes)
        rows = [
            [f"{b.low:.1f}–{b.high:.1f}", str(b.rows), _figure(b.confidence), *map(_figure, b.true)]
            for b in bins
        ]
        columns = ["probability", "predictions", "mean", "true", "from", "to"]
        return finished("Calibration", columns, rows)


def against_champion(parts: list[Slice], regression: bool) -> Chart | None:
    """Candidate minus champion in each part, with intervals; None without a champion."""
    drawn = [each for each in parts if each.compared > 1][:ROWS_DRAWN]
    compared = [(each, each.difference) for each in drawn if each.difference is not None]
    if not compared:
        return None
    measure = "mean absolute error" if regression else "accuracy"
    with chart(0.34 * len(drawn) + 0.75) as (axes, finished):
        axes.axvline(0, color=INK, linewidth=1, dashes=(4, 3))
        values = [d.value or 0.0 for _, d in compared]
        reach = _reach([d for _, d in compared])
        axes.errorbar(values, range(len(compared)), xerr=reach, fmt="o", **POINTS)
        name_rows(axes, [each.name for each, _ in compared])
        axes.set_xlabel(f"difference in {measure}")
        rows = [[each.name, str(each.compared), *map(_signed, d)] for each, d in compared]
        title = f"Candidate minus champion: {measure}, 95\xa0% intervals"
        return finished(title, ["part", "rows", "difference", "from", "to"], rows)


def numbers(scored: Scored) -> Chart | None:
    """Predicted against true numbers of a regression, else None."""
    if scored.problem_type != "regression":
        return None
    rows = scored.rows[["label", "predicted"]].astype(float)
    drawn = rows.sample(min(len(rows), POINTS_DRAWN), random_state=0)
    with chart(3.1) as (axes, finished):
        ends = [float(rows["label"].min()), float(rows["label"].max())]
        axes.plot(ends, ends, color=INK, linewidth=1, dashes=(4, 3), label="perfect")
        axes.plot(
            drawn["label"], drawn["predicted"], "o", color=FIRST, markersize=3, alpha=0.5,
            label="test rows",
        )  # fmt: skip
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")
        legend(axes)
        shares = [0, 0.25, 0.5, 0.75, 1]
        table = [
            [f"{share:.0%}", *(f"{rows[c].quantile(share):.4g}" for c in ("label", "predicted"))]
            for share in shares
        ]
        return finished("Predicted and true numbers", ["quantile", "true", "predicted"], table)


def _curves(
    points: list[dict[str, Any]], title: str, series: Sequence[tuple[str, str]]
) -> Chart | None:
    found = [(key, label) for key, label in series if any(key in point for point in points)]
    if not found:
        return None
    with chart(2.6) as (axes, finished):
        for (key, label), colour, marker in zip(
            found, (FIRST, SECOND), ("", "o") if len(found) > 1 else ("o",), strict=False
        ):
            steps = [point["step"] for point in points if key in point]
            values = [point[key] for point in points if key in point]
            few = marker if len(steps) < 40 else ""
            axes.plot(
                steps, values, few + "-", color=colour, markersize=4, linewidth=2, label=label
            )
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(found) > 1:
            legend(axes)
        told = [point for point in points if any(key in point for key, _ in found)]
        thinned = told[:: -(-len(told) // 30)]
        rows = [
            [str(point["step"]), *(f"{point[k]:.4g}" if k in point else "" for k, _ in found)]
            for point in thinned
        ]
        return finished(title, ["step", *(label for _, label in found)], rows)


def _reach(found: Sequence[Interval]) -> list[list[float]]:
    """How far intervals go below and above their values.

    One of a difference is centred a little off what was observed, which may lie outside it.
    """
    ends = [(each.value or 0.0, each.low or 0.0, each.high or 0.0) for each in found]
    below = [max(value - low, 0.0) for value, low, _ in ends]
    return [below, [max(high - value, 0.0) for value, _, high in ends]]


def _scores(points: list[dict[str, Any]]) -> list[tuple[str, str]]:
    known = [("eval_accuracy", "accuracy"), ("eval_macro_f1", "macro F1"), ("eval_mae", "error")]
    return [each for each in known if any(each[0] in point for point in points)][:2]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")
