from pathlib import Path

import pandas as pd
import pytest

from components import folders
from components.export_model.export import export
from components.export_model.settings import ExportSettings
from serving.classifier import Classifier
from tests.conftest import hotel_rows


def published(store: str, tiny_model: Path, tmp_path: Path) -> tuple[str, str]:
    model, dataset = f"{store}/finetuned/one", f"{store}/validated/one"
    folders.publish(tiny_model, model, {"fingerprint": "f" * 64, "labels": ["praise"]})
    rows = tmp_path / "dataset"
    rows.mkdir()
    frame = pd.DataFrame(hotel_rows(60), columns=["text", "label"])
    frame[:40].to_parquet(rows / "train.parquet")
    frame[40:].to_parquet(rows / "test.parquet")
    folders.publish(rows, dataset, {"fingerprint": "d" * 64})
    return model, dataset


def test_the_exported_folder_is_the_model_with_its_backend(
    store: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, dataset = published(store, tiny_model, tmp_path)
    uri = export(store, model, dataset, ExportSettings())
    manifest = folders.fetch(uri, tmp_path / "fetched")
    names = {file["path"] for file in manifest["files"]}
    assert {path.name for path in tiny_model.iterdir()} < names
    assert {"serving.json", "openvino/model.xml", "openvino/model.bin"} < names
    assert (manifest["finetuned"], manifest["labels"]) == ("f" * 64, ["praise"])
    assert manifest["serving"]["backend"] == "openvino"
    assert Classifier.load(tmp_path / "fetched").backend.name == "openvino"

    capsys.readouterr()
    assert export(store, model, dataset, ExportSettings()) == uri
    assert "cached:" in capsys.readouterr().out
    assert export(store, model, dataset, ExportSettings(long_texts="reject")) != uri


def test_of_two_runs_that_export_the_same_at_once_the_folder_is_wholly_the_firsts(
    store: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = published(store, tiny_model, tmp_path)
    uri = export(store, model, dataset, ExportSettings())
    first = folders.existing(uri)
    # The second had looked before the first was done, and its model.xml and serving.json differ.
    monkeypatch.setattr(folders, "cached", lambda *told: False)
    assert export(store, model, dataset, ExportSettings()) == uri
    assert folders.fetch(uri, tmp_path / "fetched") == first
    assert Classifier.load(tmp_path / "fetched").backend.name == "openvino"
