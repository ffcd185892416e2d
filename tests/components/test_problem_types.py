"""Labels of every kind, from the file to the targets that transformers' losses take."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components import folders, storage
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from components.tokenize_dataset.settings import TokenizationSettings
from components.tokenize_dataset.tokens import tokenize
from components.validate_dataset.dataset import validate
from components.validate_dataset.settings import ValidationSettings
from serving.encoding import Encoder
from serving.errors import InputError
from tests.conftest import hotel_rows

Facts = dict[str, Any]


def prepared(
    store: str, tmp_path: Path, tiny_model: Path, rows: list[dict[str, Any]], **given: Any
) -> tuple[Facts, Facts, pd.DataFrame, pd.DataFrame]:
    """Manifests of validation and tokenization, the training rows and their tokens."""
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    dataset = download(store, DatasetSettings.model_validate({"path": str(source), **given}))
    validated = validate(store, dataset, ValidationSettings())
    folders.publish(tiny_model, f"{store}/base-models/b", {"fingerprint": "b"})
    settings = TokenizationSettings(max_length=16, unknown="ignore")
    tokenized = tokenize(store, validated, f"{store}/base-models/b", settings)
    texts = folders.fetch(validated, tmp_path / "texts")
    tokens = folders.fetch(tokenized, tmp_path / "tokens")
    return (
        texts,
        tokens,
        pd.read_parquet(tmp_path / "texts" / "train.parquet"),
        pd.read_parquet(tmp_path / "tokens" / "train.parquet"),
    )


def made_up() -> list[dict[str, Any]]:
    return [{"text": text, "label": label} for text, label in hotel_rows(200)]


@pytest.mark.parametrize("separator", [None, "|"])
def test_several_labels_a_row_become_a_column_of_zeros_and_ones(
    store: str, tmp_path: Path, tiny_model: Path, separator: str | None
) -> None:
    rows = made_up()
    for number, row in enumerate(rows):
        names = [row["label"], *(["noise"] if number % 3 == 0 else [])]
        row["label"] = names if separator is None else f" {separator} ".join(names)
    if separator is None:
        rows[5]["label"] = []
    texts, tokens, train, columns = prepared(
        store,
        tmp_path,
        tiny_model,
        rows,
        problem_type="multi_label_classification",
        label_separator=separator,
    )
    labels = ["blame", "neutral", "noise", "praise"]
    for manifest in (texts, tokens):
        assert manifest["problem_type"] == "multi_label_classification"
        assert manifest["labels"] == labels
    for names, row in zip(train["label"], columns["labels"], strict=True):
        assert row.tolist() == [float(label in names) for label in labels]
        assert row.dtype == "float32"
    assert texts["splits"]["test"]["labels"]["noise"] > 0


def test_numbers_stay_numbers_and_the_output_is_called_as_their_column(
    store: str, tmp_path: Path, tiny_model: Path
) -> None:
    rows = [{"text": row["text"], "stars": n % 50 / 10} for n, row in enumerate(made_up())]
    rows[7]["stars"] = None
    texts, tokens, train, columns = prepared(
        store, tmp_path, tiny_model, rows, label="stars", problem_type="regression"
    )
    assert tokens["problem_type"] == "regression"
    assert tokens["labels"] == ["stars"]
    assert columns["labels"].dtype == "float32"
    assert columns["labels"].tolist() == pytest.approx(train["label"].tolist())
    assert texts["findings"][0]["rows"] == ["rows.jsonl:8"]
    assert texts["splits"]["test"]["numbers"]["most"] > 4


def test_pairs_are_encoded_as_serving_does(store: str, tmp_path: Path, tiny_model: Path) -> None:
    rows = [{**row, "other": row["text"][::-1]} for row in made_up()]
    _, _, train, columns = prepared(store, tmp_path, tiny_model, rows, text_pair="other")
    encoder = Encoder.from_folder(tmp_path / "tokens" / "tokenizer")
    expected = encoder.encode(train["text"].tolist(), train["text_pair"].tolist())
    for name in ("input_ids", "token_type_ids"):
        assert [row.tolist() for row in columns[name]] == [e.features[name] for e in expected]


def test_rows_of_one_group_are_in_one_split(store: str, tmp_path: Path) -> None:
    rows = [{**row, "hotel": f"hotel {n % 40}"} for n, row in enumerate(made_up())]
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    dataset = download(store, DatasetSettings(path=str(source), group="hotel"))
    uri = validate(store, dataset, ValidationSettings())
    splits: dict[str, set[str]] = {}
    for name in ("train", "validation", "test"):
        part = folders.read_table(uri, f"{name}.parquet")
        splits[name] = {rows[number - 1]["hotel"] for number in part["row"]}
        assert set(part["label"]) == {"praise", "blame", "neutral"}
        assert len(part) > 10
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["validation"]
    assert not splits["validation"] & splits["test"]


@pytest.mark.parametrize(
    ("label", "given", "says"),
    [
        ("a,b", {"problem_type": "multi_label_classification"}, "label_separator"),
        (7, {"problem_type": "multi_label_classification"}, "has a int as labels"),
        ("good", {"problem_type": "regression"}, "is no number"),
        ("inf", {"problem_type": "regression"}, "cannot be learned"),
        (["a"], {"problem_type": "regression"}, "has a list in the column"),
    ],
)
def test_a_label_of_another_kind_is_named(
    store: str, tmp_path: Path, label: Any, given: dict[str, Any], says: str
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"text": "a", "label": label}))
    with pytest.raises(InputError, match=says) as error:
        download(store, DatasetSettings.model_validate({"path": str(source), **given}))
    assert "rows.jsonl:1" in str(error.value)
    assert storage.list_keys(store) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"label_separator": ","}, "goes with problem_type"),
        (
            {"problem_type": "multi_label_classification", "label_bins": {"a": {"min": 0}}},
            "not several",
        ),
        ({"problem_type": "regression", "label_names": {"0": "a"}}, "the numbers themselves"),
    ],
)
def test_settings_of_another_kind_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DatasetSettings.model_validate({"path": "a.csv", **given})
