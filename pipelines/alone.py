"""Single steps on what did not come from a run: any Hugging Face folder, any labelled file."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from components import folders
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from components.evaluate_model.evaluation import Evaluations, evaluate
from components.fingerprint import fingerprint, sha256_of
from components.gate_model.gate import judge
from components.gate_model.settings import GateSettings
from components.gate_model.verdict import Verdict
from serving.errors import InputError


def score(store: str, name: str, model: Path, rows: DatasetSettings) -> tuple[Evaluations, Any]:
    """Score a folder, and the champion of `name`, on labelled rows; returns the evaluations' and
    the dataset's addresses."""
    dataset = _rows(store, rows)
    return evaluate(store, _model(store, model), dataset, name), dataset


def decide(
    store: str, name: str, model: Path, rows: DatasetSettings, rules: GateSettings
) -> Verdict:
    """Apply the gate to a folder; its verdict lies under a run of its own, which promotes it."""
    evaluations, dataset = score(store, name, model, rows)
    return judge(
        store,
        name=name,
        run=f"alone-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}",
        model=_model(store, model),
        dataset=dataset,
        evaluation=evaluations.candidate,
        champion_evaluation=evaluations.champion,
        settings=rules,
    )


def _model(store: str, folder: Path) -> str:
    """Publish a Hugging Face folder as a fine-tuned model; the same files are published once."""
    from serving.classifier import Classifier

    if not folder.is_dir():
        raise InputError(
            f"there is no folder {folder}. Name one with config.json, the weights and the "
            "tokenizer, as save_pretrained() writes it."
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    identity = fingerprint({"files": hashes}, code=[], libraries=[])
    uri = f"{store}/finetuned/{identity}"
    if folders.manifest_of(uri) is None:
        classifier = Classifier.load(folder)
        facts = {
            "kind": "finetuned-model",
            "fingerprint": identity,
            "labels": list(classifier.labels),
            "max_length": classifier.encoder.max_length,
            "dataset": "",
            "tokenized": "",
            "base_model": "",
            "settings": {},
        }
        folders.publish(folder, uri, facts)
    return uri


def _rows(store: str, settings: DatasetSettings) -> str:
    """Publish labelled rows as test rows; rows without a text or a label are left out.

    Where the rows name splits and some are `test`, those alone are scored.
    """
    downloaded = download(store, settings)
    source = folders.existing(downloaded)
    identity = fingerprint(
        {"scored": source["fingerprint"]}, code=["pipelines.alone"], libraries=["pandas"]
    )
    uri = f"{store}/validated/{identity}"
    if folders.manifest_of(uri) is not None:
        return uri
    with tempfile.TemporaryDirectory() as scratch:
        rows = folders.read_table(downloaded, "rows.parquet")
        rows = rows[rows["label"].notna() & (rows["text"].fillna("").str.strip() != "")]
        if "split" in rows and (rows["split"] == "test").any():
            rows = rows[rows["split"] == "test"]
        if rows.empty:
            raise InputError(
                "the file has no row with a text and a label. Name its columns with --set "
                "text=COLUMN and --set label=COLUMN."
            )
        target = Path(scratch)
        columns = [c for c in ("row", "file", "text", "text_pair", "label") if c in rows]
        rows[columns].reset_index(drop=True).to_parquet(target / "test.parquet", index=False)
        facts = {
            "kind": "validated-dataset",
            "fingerprint": identity,
            "dataset": source["fingerprint"],
            "source": source.get("source"),
            "splits": {"test": {"rows": len(rows)}},
            "findings": [],
        }
        folders.publish(target, uri, facts)
    return uri
