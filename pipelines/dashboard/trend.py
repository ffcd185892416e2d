"""Geometry of a model's trend: candidates as points, the champion they met as a stepped line."""

import math
from dataclasses import dataclass

from components.candidates import Candidate

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 14, 30
REACH = 8
"""Room beside the outermost points."""


@dataclass(frozen=True)
class Point:
    """A candidate in the chart."""

    x: float
    y: float
    value: float
    candidate: Candidate


@dataclass(frozen=True)
class Tick:
    """A line of the grid with its value."""

    y: float
    text: str


@dataclass(frozen=True)
class Trend:
    """A chart in user units of an SVG that is WIDTH by HEIGHT."""

    metric: str
    points: list[Point]
    champion: str
    """Path of the champion's line, '' when there is none."""
    line: str
    """Path through the candidates, for a small chart without points."""
    ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def headline_metric(metrics: dict[str, float | None]) -> str:
    """The metric that one looks at first: the mean absolute error of numbers, else accuracy."""
    return "mae" if "mae" in metrics else "accuracy"


def trend(candidates: list[Candidate]) -> Trend | None:
    """The chart of the newest candidates' headline metric, oldest left; None without a value."""
    if not candidates:
        return None
    metric = headline_metric(candidates[-1].metrics)
    found = [(each, each.metrics.get(metric)) for each in candidates]
    valued = [(each, value) for each, value in found if value is not None]
    if not valued:
        return None
    met = [each.champion.metrics.get(metric) if each.champion else None for each, _ in valued]
    seen = [value for _, value in valued] + [value for value in met if value is not None]
    ticks = _ticks(min(seen), max(seen))
    low, high = ticks[0], ticks[-1]

    def x(index: int) -> float:
        spread = WIDTH - LEFT - RIGHT - 2 * REACH
        return LEFT + REACH + spread * (index / (len(valued) - 1) if len(valued) > 1 else 0.5)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    digits = max(2, -math.floor(math.log10((high - low) / max(len(ticks) - 1, 1))))
    points = [
        Point(round(x(i), 1), round(y(value), 1), value, each)
        for i, (each, value) in enumerate(valued)
    ]
    return Trend(
        metric=metric,
        points=points,
        champion=_steps([(x(i), y(v) if v is not None else None) for i, v in enumerate(met)]),
        line="M" + " L".join(f"{point.x:g},{point.y:g}" for point in points),
        ticks=[Tick(round(y(value), 1), f"{value:.{digits}f}") for value in ticks],
    )


def _steps(places: list[tuple[float, float | None]]) -> str:
    """A path that holds each height until half way to the next, with gaps where there is none."""
    path = ""
    before: float | None = None
    for i, (x, y) in enumerate(places):
        if y is not None:
            begun = f" V{y:.1f}" if before is not None else f" M{x - REACH:.1f},{y:.1f}"
            after = places[i + 1] if i + 1 < len(places) else (x, None)
            end = (x + after[0]) / 2 if after[1] is not None else x + REACH
            path += f"{begun} H{end:.1f}"
        before = y
    return path.strip()


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values around [low, high]."""
    spread = max(high - low, 0.01)
    middle = (low + high) / 2
    low, high = middle - 0.55 * spread, middle + 0.55 * spread
    step = 10.0 ** math.floor(math.log10(spread / 3))
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (step * f) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, last + 1)]
