"""What runs on this machine, and who is champion."""

import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from components import candidates, predictor_process, processes, promotions
from components.promote_model.targets.local import home_of, record_of
from pipelines import object_store
from pipelines.local import models, use_store

RUNS_SHOWN = 5


def show(state: Path, store: str | None, console: Console) -> None:
    """Print the store, each model with its champion and endpoint, and the newest verdicts.

    It starts nothing: a stopped embedded store is told as such.
    """
    embedded = store is None and "AWS_ENDPOINT_URL_S3" not in os.environ
    facts = object_store.facts_if_running(state)
    if embedded and facts is None:
        console.print("object store: stopped (`finegate up` starts it)", highlight=False)
        return
    address = use_store(state, store)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3", "AWS")
    console.print(f"object store: {endpoint}, {address}", highlight=False)
    table = Table("model", "champion", "promotion", "since", "endpoint", "answers")
    for name, champion in models(address):
        record = record_of(home_of(state, name))
        process, known = processes.running(record), processes.read(record)
        url, version = "-", "not running here"
        if process is not None and known is not None:
            url = predictor_process.predict_url(name, known["port"])
            version = predictor_process.answering_version(name, known["port"]) or "not ready"
        since = promotions.since(address, name)
        table.add_row(name, champion.version, str(champion.number), since, url, version)
    console.print(table)
    runs = Table("run", "model", "decision", "why")
    for name, judged in candidates.judged_last(address, RUNS_SHOWN):
        runs.add_row(judged.run, name, judged.decision, judged.reason)
    console.print(runs)


def stop_all(state: Path) -> Iterator[str]:
    """Stop endpoints, then the store; yields what was stopped."""
    for home in sorted((state / "endpoints").glob("*")):
        if processes.stop(record_of(home)):
            yield f"endpoint {home.name}"
    if object_store.stop(state):
        yield "object store"
