"""What a person reads at the end of a run: verdict, report, curl, and the endpoint's own words."""

import json
import shlex
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components import folders, predictor_process, processes, storage
from components.evaluate_model.evaluation import headline
from components.promote_model.targets.local import home_of, record_of
from pipelines.config import RunConfig
from pipelines.local import Run

BASELINES = {"tfidf": "TF-IDF with logistic regression", "majority": "majority class"}
OF_NUMBERS = {"tfidf": "TF-IDF with ridge regression", "majority": "mean"}


def show(run: Run, config: RunConfig, state: Path, console: Console) -> None:
    """Print the run's summary."""
    verdict = run.verdict
    if verdict["checks"]:
        console.print(table(verdict))
    console.print(Text(f"{verdict['decision']}: {verdict['reason']}"), soft_wrap=True)
    metrics = storage.read_json(f"{verdict['evaluation']}/{folders.MANIFEST}")
    told = headline(metrics["metrics"])
    for title, values in metrics["baselines"].items():
        told += (
            f"; {OF_NUMBERS[title]} {values['mae']:.4f}"
            if "mae" in values
            else f"; {BASELINES[title]} {values['accuracy']:.4f}"
        )
    console.print(told, highlight=False, soft_wrap=True)
    console.print(f"report: {run.report}", highlight=False, soft_wrap=True)
    record = record_of(home_of(state, config.name))
    if processes.running(record) is None:
        return
    facts = processes.read(record)
    assert facts is not None
    url = predictor_process.predict_url(config.name, facts["port"])
    texts = config.examples or _test_texts(run.store, metrics["dataset"])
    body = json.dumps({"instances": texts}, ensure_ascii=False)
    command = f"curl -s {url} -H 'content-type: application/json' -d {shlex.quote(body)}"
    console.print(Text(f"\nask the champion:\n{command}\n"), soft_wrap=True)
    answer = httpx.post(url, json={"instances": texts}, timeout=60).raise_for_status().json()
    for text, prediction in zip(texts, answer["predictions"], strict=True):
        named = ", ".join(f"{each['label']} {each['score']:.4f}" for each in prediction["scores"])
        console.print(Text(f"{text}\n  -> {named}  (version {answer['model_version']})"))


def table(verdict: dict[str, Any]) -> Table:
    """The checks of a verdict."""
    result = Table(title=f"{verdict['name']} {verdict['candidate']}: {verdict['decision']}")
    for column in ("check", "observed", "bound", "passed"):
        result.add_column(column, justify="left" if column == "check" else "right")
    for check in verdict["checks"]:
        observed = "-" if check["observed"] is None else f"{check['observed']:.4g}"
        bound = f"{check['relation']} {check['bound']:.4g}"
        passed = Text("yes", "green") if check["passed"] else Text("NO", "bold red")
        result.add_row(Text(check["name"]), observed, bound, passed)
    return result


def _test_texts(store: str, dataset: str) -> list[str]:
    """One test row of each of two labels."""
    rows = folders.read_table(f"{store}/validated/{dataset}", "test.parquet")
    return [str(text) for text in rows.groupby("label")["text"].first()[:2]]
