"""One run as one self-contained page, from the documents that the steps wrote."""

import json
from pathlib import Path
from typing import Any

from components import folders, pages, storage
from components.console import say
from serving.errors import InputError

STEP = "report_run"


def report(store: str, run: str, dataset: str, drift: str) -> bytes:
    """Write `runs/<run>/report.html`; returns the page.

    It loads nothing from anywhere, so it opens offline and can be mailed.
    """
    verdict: dict[str, Any] | None = storage.read_json(f"{store}/runs/{run}/verdict.json")
    if verdict is None:
        raise InputError(f"run {run} has no verdict under {store}/runs/; there is none to report.")
    model = folders.existing(verdict["model"])
    page = render(
        verdict=verdict,
        evaluation=folders.existing(verdict["evaluation"]),
        champion=_champion(verdict),
        model=model,
        tokens=folders.manifest_of(f"{store}/tokenized/{model['tokenized']}"),
        dataset=folders.existing(dataset),
        drift=storage.read_json(drift) if drift else None,
        points=training_points(verdict["model"]),
    )
    uri = f"{store}/runs/{run}/report.html"
    storage.write_bytes(uri, page, "text/html; charset=utf-8")
    say(STEP, f"{uri}")
    return page


def render(**documents: Any) -> bytes:
    """The page for a run's documents; every text in them is escaped."""
    from components.report_run import charts

    points = documents["points"]
    return pages.render(
        Path(__file__).parent / "report.html.j2",
        loss=charts.loss_curves(points),
        scores=charts.score_curves(points),
        learning_rate=charts.learning_rate_curve(points),
        **documents,
    )


def training_points(model: str) -> list[dict[str, Any]]:
    """The points that training logged."""
    content = storage.read_bytes(f"{model}/training.jsonl")
    return [json.loads(line) for line in (content or b"").decode().splitlines()]


def _champion(verdict: dict[str, Any]) -> folders.Manifest | None:
    uri = verdict["champion_evaluation"]
    return folders.existing(uri) if uri else None
