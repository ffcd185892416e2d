"""A release: the immutable Hugging Face folder of one version, with release.json written last."""

from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import Any

from components import folders, promotions, storage
from components.console import say

STEP = "promote_model"
UNSERVED = ("training.jsonl",)
"""Files of a fine-tuned model that an endpoint does not read: a release stays slim."""


def release(store: str, name: str, model: str, verdict: dict[str, Any]) -> folders.Manifest:
    """Copy the fine-tuned model to `models/<name>/<version>/`; returns its release document.

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
    folders.copy(model, uri, {"files": files})
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
        },
        "metrics": evaluation["metrics"],
        "checks": verdict["checks"],
    }
    storage.create_json(f"{uri}/{promotions.RELEASE}", document)
    released = promotions.release(store, name, version)
    assert released is not None  # just created, here or by a racing run
    say(STEP, f"released {name} {version}: {uri}/")
    return released
