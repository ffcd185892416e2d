"""A downloaded dataset in, a clean one with splits and a report of findings out."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from components import folders
from components.console import say
from components.findings import Ledger
from components.fingerprint import fingerprint
from components.problem_types import SINGLE
from components.validate_dataset.settings import ValidationSettings

STEP = "validate_dataset"
ROWS_A_GROUP = 10_000
COLUMNS = ("row", "file", "text", "text_pair", "label")


def validate(store: str, dataset: str, settings: ValidationSettings) -> str:
    """Write `validated/<fingerprint>/` for the dataset at the S3 address `dataset`; returns its
    address.

    It holds train, validation and test parquet (row int64, file, text, text_pair for pairs, and
    label), findings.parquet (name, file, row: every row of every finding), report.html, and the
    findings and profiles in the manifest. Raises InputError where a rule says so or where nothing
    can be learned.
    """
    source = folders.existing(dataset)
    identity = fingerprint(
        {"dataset": source["fingerprint"], "settings": settings.model_dump(exclude={"drift"})},
        code=[
            "components.findings",
            "components.pages",
            "components.texts",
            "components.validate_dataset",
        ],
        libraries=["jinja2", "numpy", "pandas", "scipy"],
    )
    uri = f"{store}/validated/{identity}"
    if folders.cached(uri, STEP, "same dataset, same rules"):
        return uri
    # Here and not above: a cache hit needs none of these, whose imports take a second.
    from components.validate_dataset.labels import output_names
    from components.validate_dataset.page import page
    from components.validate_dataset.profile import profile
    from components.validate_dataset.rows import Repair
    from components.validate_dataset.splits import cut

    with tempfile.TemporaryDirectory() as scratch:
        rows = folders.read_table(dataset, "rows.parquet")
        kind = source.get("problem_type", SINGLE)
        ledger = Ledger("validation")
        repair = Repair(rows, settings, kind, ledger)
        together = repair.run()
        ledger.settle()
        parts = cut(repair.rows, settings.splits, kind, together)
        target = Path(scratch)
        for name, part in parts.items():
            columns = [column for column in COLUMNS if column in part]
            # In groups, so that tokenization can read a stretch of a large split.
            part[columns].to_parquet(
                target / f"{name}.parquet", index=False, row_group_size=ROWS_A_GROUP
            )
        _every_row(ledger).to_parquet(target / "findings.parquet", index=False)
        for finding in ledger.findings:
            say(STEP, f"{finding.count} row(s) with {finding.sentence}: {finding.action}")
        facts: dict[str, Any] = {
            "kind": "validated-dataset",
            "fingerprint": identity,
            "dataset": source["fingerprint"],
            "source": source.get("source"),
            "problem_type": kind,
            "labels": output_names(source, parts["train"], kind),
            "rows": len(rows),
            "splits": {name: profile(part, kind) for name, part in parts.items()},
            "findings": [finding.model_dump() for finding in ledger.findings],
        }
        (target / "report.html").write_bytes(page(facts, None))
        folders.publish(target, uri, facts)
    counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
    say(STEP, f"{counts} rows, labels {', '.join(facts['labels'])}: {uri}")
    return uri


def _every_row(ledger: Ledger) -> pd.DataFrame:
    named = [(name, file, row) for name, places in ledger.places.items() for file, row in places]
    return pd.DataFrame(named, columns=["name", "file", "row"]).astype(
        {"name": str, "file": str, "row": "int64"}
    )
