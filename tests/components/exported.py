"""A model on S3 as the steps before the evaluation leave it, without those steps."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components import folders


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
