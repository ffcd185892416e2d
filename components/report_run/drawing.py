"""A figure as SVG that stands in the page, in its fonts and its light or dark colours."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

# Stand-ins, replaced by the page's own colours once the SVG is written.
INK, GRID, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404"
COLOURS = {INK: "--soft", GRID: "--line", FIRST: "--first", SECOND: "--second"}
WIDTH = 4.2
"""Inches; at a phone's width a point is then about a pixel."""
NAME_CHARACTERS = 18


@dataclass(frozen=True)
class Chart:
    """A chart, and the same as text: one sentence and a table."""

    title: str
    svg: Markup
    columns: list[str]
    rows: list[list[str]]


Finish = Callable[[str, list[str], list[list[str]]], Chart]


@contextmanager
def chart(height: float) -> Iterator[tuple[Any, Finish]]:
    """Axes to draw on, `height` inches high, and what makes the finished chart of them."""
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


def name_rows(axes: Any, names: list[str]) -> None:
    """Name the rows from top to bottom; a long name is cut, the table has it whole."""
    cut = [n if len(n) <= NAME_CHARACTERS else n[: NAME_CHARACTERS - 1] + "…" for n in names]
    axes.set_yticks(range(len(names)), cut)
    axes.set_ylim(len(names) - 0.5, -0.5)


def legend(axes: Any) -> None:
    """Put the legend where there is room."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=8.5)
