"""A release: the immutable Hugging Face folder of one version, with release.json written last."""

from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version as installed
from typing import Any

from components import folders, promotions, storage
from components.console import say
from components.images import TRAINER_IMAGE
from components.promote_model.model_card import CARD, model_card

STEP = "promote_model"
UNSERVED = ("training.jsonl", CARD)
"""Files of an exported model that a release leaves out: it stays slim, and has its own card."""


def release(store: str, name: str, model: str, verdict: dict[str, Any]) -> folders.Manifest:
    """Copy the exported model to `models/<name>/<version>/`; returns its release document.

    The copy runs on the S3 server's side. Safe to repeat: the document is created once, after
    every file, and what stands there already is returned as it is.
    """
    version = verdict["candidate"]
    uri = promotions.release_uri(store, name, version)
    made = promotions.release(store, name, version)
    if made is not None:
        return made
    candidate = folders.existing(model)
    evaluation = folders.existing(verdict["evaluation"])
    files = [file for file in candidate["files"] if file["path"] not in UNSERVED]
    files = folders.copy(model, uri, {"files": files})
    files.append(_card(uri, model_card(name, version, candidate, evaluation, verdict["checks"])))
    document = {
        "name": name,
        "version": version,
        "fingerprint": candidate["fingerprint"],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": verdict["run"],
        "labels": candidate["labels"],
        "max_length": candidate["max_length"],
        "files": files,
        "lineage": {
            "model": model,
            "dataset": candidate["dataset"],
            "tokenized": candidate["tokenized"],
            "base_model": candidate["base_model"],
            "evaluation": verdict["evaluation"],
            "training": candidate["settings"],
            "finegate": installed("finegate"),
            "image": TRAINER_IMAGE,
            "verdict": {key: verdict[key] for key in ("decision", "reason", "champion")},
        },
        "metrics": evaluation["metrics"],
        "reference": evaluation.get("reference"),
        "checks": verdict["checks"],
    }
    storage.create_json(f"{uri}/{promotions.RELEASE}", document)
    released = promotions.release(store, name, version)
    assert released is not None  # just created, here or by a racing run
    say(STEP, f"released {name} {version}: {uri}/")
    return released


def _card(uri: str, content: bytes) -> dict[str, Any]:
    """Write the model card unless a racing run has; returns its entry among the files."""
    written = storage.create_bytes(f"{uri}/{CARD}", content, "text/markdown; charset=utf-8")
    assert written is not None
    return {"path": CARD, "size": len(written), "sha256": sha256(written).hexdigest()}
