"""Exported models with evaluations and verdicts, as the steps before a promotion write them."""

import json
import tempfile
from pathlib import Path

from components import candidates, folders, promotions, storage
from tests.components import exported
from tests.components.promote_model.cluster import SCORES

FILES = ("config.json", "model.safetensors", "training.jsonl")
GOLDEN = {
    "labels": list(SCORES),
    "rows": [{"text": f"text {n}", "probabilities": list(SCORES.values())} for n in range(16)],
}


def judged(store: str, run: str, decision: str = "accepted", name: str = "m") -> str:
    """A candidate with a verdict against today's champion, as the gate writes it; its version."""
    fingerprint = f"{run:0<20}"
    evaluation = f"{store}/evaluations/{fingerprint}"
    with tempfile.TemporaryDirectory() as scratch:
        model, scores = Path(scratch) / "model", Path(scratch) / "scores"
        model.mkdir()
        scores.mkdir()
        for file in FILES:
            (model / file).write_text(f"{file} of {run}")
        (scores / "golden.json").write_text(json.dumps(GOLDEN))
        candidate = exported.publish(store, model, run, SCORES)
        folders.publish(scores, evaluation, {"metrics": {"accuracy": 1.0}})
    champion = promotions.champion(store, name)
    verdict = {
        "decision": decision,
        "reason": "All checks passed.",
        "run": run,
        "name": name,
        "candidate": fingerprint[:12],
        "model": candidate,
        "evaluation": evaluation,
        "champion": champion and {"version": champion.version, "number": champion.number},
        "checks": [],
    }
    storage.write_json(f"{store}/runs/{run}/verdict.json", verdict)
    candidates.record(store, verdict, {"accuracy": 1.0}, None)
    return fingerprint[:12]
