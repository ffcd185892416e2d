"""A candidate on S3 as export_model leaves it, without the steps before; scored and judged."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components import folders
from components.evaluate_model.evaluation import evaluate
from components.gate_model.gate import judge
from components.gate_model.settings import GateSettings
from components.gate_model.verdict import Verdict


def publish(store: str, folder: Path, version: str, labels: Iterable[str]) -> str:
    """Publish a Hugging Face folder as the candidate `version`; returns its S3 address."""
    facts: dict[str, Any] = {
        "fingerprint": f"{version:0<20}",
        "labels": list(labels),
        "max_length": 24,
        "dataset": "d",
        "tokenized": "t",
        "base_model": "b",
        "settings": {},
    }
    uri = f"{store}/exported/{facts['fingerprint']}"
    folders.publish(folder, uri, facts)
    return uri


def judged(
    store: str, name: str, run: str, model: str, dataset: str, rules: dict[str, Any]
) -> Verdict:
    """Evaluate the candidate and the champion, and apply the rules."""
    evaluations = evaluate(store, model, dataset, name)
    return judge(
        store,
        name=name,
        run=run,
        model=model,
        dataset=dataset,
        evaluation=evaluations.candidate,
        champion_evaluation=evaluations.champion,
        settings=GateSettings.model_validate(rules),
    )
