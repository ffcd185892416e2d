"""One run as one self-contained page, from the documents that the steps wrote."""

import json
from pathlib import Path
from typing import Any

from components import folders, pages, storage
from components.console import say
from components.report_run.scored import Scored, scored
from components.report_run.settings import ReportSettings
from serving.errors import InputError

STEP = "report_run"


def report(store: str, run: str, dataset: str, drift: str, settings: ReportSettings) -> bytes:
    """Write `runs/<run>/report.html`; returns the page.

    It loads nothing from anywhere, so it opens offline and can be mailed.
    """
    verdict: dict[str, Any] | None = storage.read_json(f"{store}/runs/{run}/verdict.json")
    if verdict is None:
        raise InputError(f"run {run} has no verdict under {store}/runs/; there is none to report.")
    model = folders.existing(verdict["model"])
    facts = folders.existing(dataset)
    champion = verdict["champion_evaluation"]
    page = render(
        scored(dataset, verdict["evaluation"], champion, verdict["champion_dataset"]),
        settings,
        verdict=verdict,
        evaluation=folders.existing(verdict["evaluation"]),
        champion=folders.existing(champion) if champion else None,
        model=model,
        finetuned=_found(store, "finetuned", model.get("finetuned")),
        base=_found(store, "base-models", model.get("base_model")),
        tokens=_found(store, "tokenized", model.get("tokenized")),
        dataset=facts,
        rows=_found(store, "datasets", facts.get("dataset")),
        drift=storage.read_json(drift) if drift else None,
        points=storage.read_json_lines(folders.address(verdict["model"], "training.jsonl")),
    )
    uri = f"{store}/runs/{run}/report.html"
    storage.write_bytes(uri, page, "text/html; charset=utf-8")
    say(STEP, f"{uri}")
    return page


def render(test: Scored, settings: ReportSettings, **documents: Any) -> bytes:
    """The page for a run's scored test rows and documents; every text in them is escaped."""
    from components.report_run import charts
    from components.report_run.calibration import calibration
    from components.report_run.intervals import by_class, share
    from components.report_run.mistakes import mistakes
    from components.report_run.slices import slices
    from components.report_run.stages import stages

    evaluation, model = documents["evaluation"], documents["model"]
    regression = test.problem_type == "regression"
    rows = evaluation["metrics"]["rows"]
    parts, classes = slices(test), by_class(test)
    return pages.render(
        Path(__file__).parent / "report.html.j2",
        verdict=documents["verdict"],
        evaluation=evaluation,
        champion=documents["champion"],
        model=model,
        tokens=documents["tokens"],
        dataset=documents["dataset"],
        drift=documents["drift"],
        problem_type=test.problem_type,
        show_texts=settings.show_texts,
        accuracy=None if regression else share(round(parts[0].candidate * rows), rows),
        parts=parts,
        not_compared=0 if test.champion is None else len(test.rows) - len(test.champion),
        classes=classes,
        mistakes=mistakes(test, show_texts=settings.show_texts),
        stages=stages(
            **{
                name: documents[name] for name in ("rows", "base", "dataset", "tokens", "finetuned")
            },
            model=model,
            evaluation=evaluation,
        ),
        lineage=_lineage(documents),
        class_chart=charts.classes(classes),
        calibration_chart=charts.reliability(calibration(test)),
        champion_chart=charts.against_champion(parts, regression),
        number_chart=charts.numbers(test),
        training_charts=charts.training(documents["points"]),
    )


def _found(store: str, kind: str, fingerprint: str | None) -> folders.Manifest | None:
    """The manifest of a stage, or None where a run began after it."""
    return folders.manifest_of(f"{store}/{kind}/{fingerprint}") if fingerprint else None


def _lineage(documents: dict[str, Any]) -> list[tuple[str, str]]:
    verdict, model, dataset = documents["verdict"], documents["model"], documents["dataset"]

    def told(manifest: dict[str, Any] | None) -> str:
        source = (manifest or {}).get("source")
        return json.dumps(source, ensure_ascii=False, sort_keys=True) if source else ""

    return [
        ("source of the rows", told(documents["rows"])),
        ("dataset", dataset.get("dataset", "")),
        ("validated", dataset["fingerprint"]),
        ("source of the base model", told(documents["base"])),
        ("base model", model["base_model"]),
        ("tokenized", model["tokenized"]),
        ("fine-tuned", model.get("finetuned", "")),
        ("candidate", verdict["model"]),
        ("evaluation", verdict["evaluation"]),
        ("champion’s evaluation", verdict["champion_evaluation"]),
        ("champion’s dataset, if another", verdict["champion_dataset"]),
    ]
