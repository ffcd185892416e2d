"""A downloaded dataset in, a clean one with splits and a report of findings out."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from components import folders
from components.console import say
from components.fingerprint import fingerprint
from components.validate_dataset.settings import ValidationSettings

STEP = "validate_dataset"


def validate(store: str, dataset: str, settings: ValidationSettings) -> str:
    """Write `validated/<fingerprint>/` (train, validation and test parquet, findings in the
    manifest) for the dataset at the S3 address `dataset`; returns its address.

    Columns: row int64, file, text, text_pair (pairs only) and label, all strings. Raises
    InputError where a rule says so or where nothing can be learned.
    """
    source = folders.existing(dataset)
    identity = fingerprint(
        {"dataset": source["fingerprint"], "settings": settings.model_dump()},
        code=["components.validate_dataset"],
        libraries=["pandas", "scikit-learn"],
    )
    uri = f"{store}/validated/{identity}"
    if folders.manifest_of(uri) is not None:
        say(STEP, f"cached: {uri} (same dataset, same rules)")
        return uri
    # Here and not above: a cache hit needs no scikit-learn, whose import takes over a second.
    from components.validate_dataset.findings import profile, repair
    from components.validate_dataset.splits import cut

    with tempfile.TemporaryDirectory() as scratch:
        folders.fetch(dataset, Path(scratch) / "source", source)
        rows = pd.read_parquet(Path(scratch) / "source" / "rows.parquet")
        rows, findings = repair(rows, settings)
        parts = cut(rows, settings.splits)
        target = Path(scratch) / "target"
        target.mkdir()
        for name, part in parts.items():
            columns = [c for c in ("row", "file", "text", "text_pair", "label") if c in part]
            part[columns].to_parquet(target / f"{name}.parquet", index=False)
        for finding in findings:
            say(STEP, f"{finding.count} row(s) with {finding.sentence}: {finding.action}")
        facts: dict[str, Any] = {
            "kind": "validated-dataset",
            "fingerprint": identity,
            "dataset": source["fingerprint"],
            "source": source.get("source"),
            "labels": _labels(source, parts["train"]),
            "splits": {name: profile(part) for name, part in parts.items()},
            "findings": [finding.model_dump() for finding in findings],
        }
        folders.publish(target, uri, facts)
    counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
    say(STEP, f"{counts} rows, labels {', '.join(facts['labels'])}: {uri}")
    return uri


def _labels(source: dict[str, Any], train: pd.DataFrame) -> list[str]:
    """Labels in the order that the source names them, else sorted: a label's place is its id."""
    present = set(train["label"])
    named = [label for label in source.get("labels") or sorted(present) if label in present]
    return named + sorted(present - set(named))
