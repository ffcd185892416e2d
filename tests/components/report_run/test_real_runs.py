"""The report of what the steps really write, for each kind of problem, against a champion."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from components import candidates, promotions, storage
from components.candidates import Candidate
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from components.promote_model.promotion import promote
from components.promote_model.settings import PromotionSettings
from components.report_run.report import report
from components.report_run.settings import ReportSettings
from components.validate_dataset.dataset import validate
from components.validate_dataset.settings import ValidationSettings
from tests.components import exported
from tests.components.report_run.test_report import Page
from tests.conftest import hotel_rows

KINDS = {
    "single_label_classification": ["blame", "neutral", "praise"],
    "multi_label_classification": ["blame", "neutral", "praise"],
    "regression": ["stars"],
}

RULES: dict[str, Any] = {"beat": {}, "serving": None, "champion": None}


def dataset(store: str, tmp_path: Path, kind: str) -> str:
    rows: list[dict[str, Any]] = [{"text": text, "label": label} for text, label in hotel_rows(300)]
    for number, row in enumerate(rows):
        if kind == "regression":
            row["label"] = number % 7 / 2
        elif kind == "multi_label_classification":
            row["label"] = [row["label"], *(["neutral"] if number % 3 == 0 else [])]
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    settings = DatasetSettings.model_validate({"path": str(source), "problem_type": kind})
    return validate(store, download(store, settings), ValidationSettings())


def model(store: str, tiny_model: Path, tmp_path: Path, kind: str, version: str, seed: int) -> str:
    """A model of random weights that differ by seed."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = Path(shutil.copytree(tiny_model, tmp_path / version))
    names = dict(enumerate(KINDS[kind]))
    config = AutoConfig.from_pretrained(
        folder,
        id2label=names,
        label2id={name: index for index, name in names.items()},
        problem_type=kind,
    )
    torch.manual_seed(seed)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return exported.publish(store, folder, version, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_against_a_champion_has_a_report_and_is_listed(
    store: str, tmp_path: Path, tiny_model: Path, kind: str
) -> None:
    rows = dataset(store, tmp_path, kind)
    for version, seed in (("first", 1), ("second", 2)):
        scored = model(store, tiny_model, tmp_path, kind, version, seed)
        exported.judged(store, "hotels", version, scored, rows, RULES)
        if version == "first":
            promote(store, "hotels", version, PromotionSettings())
    text = Page(report(store, "second", rows, "", ReportSettings()).decode()).text
    for part in ("shortest quarter", "Candidate minus champion", "Data", "Lineage"):
        assert part in text
    assert ("Largest errors" in text) == (kind == "regression")
    assert ("By class" in text) == (kind != "regression")
    assert ("Confusion matrix" in text) == (kind == "single_label_classification")
    hidden = report(store, "second", rows, "", ReportSettings(show_texts=False)).decode()
    test_texts = [text for text, _ in hotel_rows(300)]
    assert any(each in text for each in test_texts)
    assert not any(each in hidden for each in test_texts)

    listed = storage.list_keys(candidates.candidates_uri(store, "hotels"))
    assert listed == ["first.json", "second.json"]
    uri = f"{candidates.candidates_uri(store, 'hotels')}/second.json"
    found = Candidate.model_validate(storage.read_json(uri))
    champion = promotions.champion(store, "hotels")
    assert champion is not None
    assert found.champion is not None
    assert found.champion.version == champion.version
    metric = "mae" if kind == "regression" else "accuracy"
    assert {metric, "rows"} <= set(found.metrics) & set(found.champion.metrics)
    assert found.metrics[metric] != found.champion.metrics[metric]
