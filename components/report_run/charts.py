"""The report's charts: SVG that stands in the page, in its fonts and its light or dark colours."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.report_run.calibration import Bin
from components.report_run.scored import Scored
from components.report_run.slices import Slice

# Stand-ins, replaced by the page's own colours once the SVG is written.
INK, GRID, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404"
COLOURS = {INK: "--soft", GRID: "--line", FIRST: "--first", SECOND: "--second"}
WIDTH = 4.2
"""Inches; at a phone's width a point is then about a pixel."""
NAME_CHARACTERS = 18
ROWS_DRAWN = 40
POINTS_DRAWN = 1500


@dataclass(frozen=True)
class Chart:
    """A chart, and the same as text: one sentence and a table."""

    title: str
    svg: Markup
    columns: list[str]
    rows: list[list[str]]


def training(points: list[dict[str, Any]]) -> list[Chart]:
    """Loss, validation scores, learning rate and throughput by step, as far as they were logged."""
    charts = [
        _curves(points, "Loss", [("loss", "training"), ("eval_loss", "validation")]),
        _curves(points, "Validation scores", _scores(points)),
        _curves(points, "Learning rate", [("learning_rate", "learning rate")]),
        _curves(points, "Rows a second", [("rows_per_second", "training rows a second")]),
    ]
    return [chart for chart in charts if chart is not None]


def classes(table: list[dict[str, Any]]) -> Chart | None:
    """F1 of each label with its interval; None without labels."""
    drawn = [each for each in table if each["f1"].value is not None][:ROWS_DRAWN]
    if not drawn:
        return None
    with _chart(0.34 * len(drawn) + 0.75) as (axes, finished):
        places = range(len(drawn))
        values = [each["f1"].value for each in drawn]
        bounds = [
            [each["f1"].value - each["f1"].low for each in drawn],
            [each["f1"].high - each["f1"].value for each in drawn],
        ]
        axes.errorbar(
            values, places, xerr=bounds, fmt="o", color=FIRST, markersize=5, capsize=3, linewidth=2
        )
        _names(axes, [each["label"] for each in drawn])
        axes.set_xlabel("F1")
        title = "F1 by class, 95\xa0% intervals"
        rows = [[each["label"], *map(_figure, each["f1"])] for each in drawn]
        return finished(title, ["label", "F1", "from", "to"], rows)


def reliability(bins: list[Bin]) -> Chart | None:
    """Share of true predictions by probability, with intervals; None of a regression."""
    if not bins:
        return None
    with _chart(3.1) as (axes, finished):
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, dashes=(4, 3), label="perfect")
        true = [b.true.value or 0.0 for b in bins]
        spread = [
            [value - (b.true.low or 0.0) for value, b in zip(true, bins, strict=True)],
            [(b.true.high or 0.0) - value for value, b in zip(true, bins, strict=True)],
        ]
        axes.errorbar(
            [b.confidence for b in bins],
            true,
            yerr=spread,
            fmt="o-",
            color=FIRST,
            markersize=5,
            capsize=3,
            linewidth=2,
            label="candidate",
        )
        lowest = min(b.low for b in bins)
        axes.set_xlim(lowest, 1.02)
        axes.set_ylim(-0.02, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("probability that was said")
        axes.set_ylabel("share that is true")
        _legend(axes)
        rows = [
            [f"{b.low:.1f}–{b.high:.1f}", str(b.rows), _figure(b.confidence), *map(_figure, b.true)]
            for b in bins
        ]
        columns = ["probability", "predictions", "mean", "true", "from", "to"]
        return finished("Calibration", columns, rows)


def against_champion(parts: list[Slice], regression: bool) -> Chart | None:
    """Candidate minus champion in each part, with intervals; None without a champion."""
    drawn = [each for each in parts if each.difference is not None and each.rows > 1][:ROWS_DRAWN]
    compared = [(each, each.difference) for each in drawn if each.difference is not None]
    if not compared:
        return None
    measure = "mean absolute error" if regression else "accuracy"
    with _chart(0.34 * len(drawn) + 0.75) as (axes, finished):
        axes.axvline(0, color=INK, linewidth=1, dashes=(4, 3))
        values = [d.value or 0.0 for _, d in compared]
        bounds = [
            [v - (d.low or 0.0) for v, (_, d) in zip(values, compared, strict=True)],
            [(d.high or 0.0) - v for v, (_, d) in zip(values, compared, strict=True)],
        ]
        # The interval is centred a little off the observed difference, which may lie outside it.
        axes.errorbar(
            values,
            range(len(compared)),
            xerr=[[max(bound, 0.0) for bound in side] for side in bounds],
            fmt="o",
            color=FIRST,
            markersize=5,
            capsize=3,
            linewidth=2,
        )
        _names(axes, [each.name for each, _ in compared])
        axes.set_xlabel(f"difference in {measure}")
        rows = [[each.name, str(each.rows), *map(_signed, d)] for each, d in compared]
        title = f"Candidate minus champion: {measure}, 95\xa0% intervals"
        return finished(title, ["part", "rows", "difference", "from", "to"], rows)


def numbers(scored: Scored) -> Chart | None:
    """Predicted against true numbers of a regression, else None."""
    if scored.problem_type != "regression":
        return None
    rows = scored.rows[["label", "predicted"]].astype(float)
    drawn = rows.sample(min(len(rows), POINTS_DRAWN), random_state=0)
    with _chart(3.1) as (axes, finished):
        ends = [float(rows["label"].min()), float(rows["label"].max())]
        axes.plot(ends, ends, color=INK, linewidth=1, dashes=(4, 3), label="perfect")
        axes.plot(
            drawn["label"], drawn["predicted"], "o", color=FIRST, markersize=3, alpha=0.5,
            label="test rows",
        )  # fmt: skip
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")
        _legend(axes)
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
    with _chart(2.6) as (axes, finished):
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
            _legend(axes)
        told = [point for point in points if any(key in point for key, _ in found)]
        thinned = told[:: -(-len(told) // 30)]
        rows = [
            [str(point["step"]), *(f"{point[k]:.4g}" if k in point else "" for k, _ in found)]
            for point in thinned
        ]
        return finished(title, ["step", *(label for _, label in found)], rows)


def _scores(points: list[dict[str, Any]]) -> list[tuple[str, str]]:
    known = [("eval_accuracy", "accuracy"), ("eval_macro_f1", "macro F1"), ("eval_mae", "error")]
    return [each for each in known if any(each[0] in point for point in points)][:2]


def _names(axes: Any, names: list[str]) -> None:
    """Name the rows from top to bottom; a long name is cut, the table has it whole."""
    cut = [n if len(n) <= NAME_CHARACTERS else n[: NAME_CHARACTERS - 1] + "…" for n in names]
    axes.set_yticks(range(len(names)), cut)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, labelcolor=INK, fontsize=8.5)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")


Finish = Callable[[str, list[str], list[list[str]]], Chart]


@contextmanager
def _chart(height: float) -> Iterator[tuple[Any, Finish]]:
    # Text stays text, to be set in the page's fonts, which have Chinese where matplotlib's has not;
    # a label with dollar signs is no formula; ids are stable: the same run gives the same bytes.
    settings: Any = {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "font.size": 9,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

        def finished(title: str, columns: list[str], rows: list[list[str]]) -> Chart:
            with mpl.rc_context({"svg.hashsalt": title}):
                return Chart(title, _svg(figure, title), columns, rows)

        yield axes, finished


def _svg(figure: Figure, title: str) -> Markup:
    buffer = io.StringIO()
    nothing = dict.fromkeys(["Date", "Creator", "Format", "Type"])
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # several charts share a page, ids must not repeat
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    for stand_in, name in COLOURS.items():
        svg = svg.replace(stand_in, f"var({name})")
    label = f'role="img" aria-label="{escape(title)}; the table below has its values"'
    return Markup(svg.replace("<svg ", f"<svg {label} ", 1))
