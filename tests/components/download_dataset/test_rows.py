import unicodedata
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from components.download_dataset.rows import ROWS_A_GROUP, Rows, write
from components.download_dataset.settings import DatasetSettings
from serving.errors import InputError

ONE, TWO = (unicodedata.normalize(form, "n\u00e9gatif") for form in ("NFC", "NFD"))
SEVERAL = {"problem_type": "multi_label_classification"}


def settings(**given: Any) -> DatasetSettings:
    return DatasetSettings.model_validate({"path": "d.csv", **given})


def of(values: dict[str, Any], **given: Any) -> dict[str, Any]:
    return next(iter(Rows(settings(**given)).of_file([(7, values)], "d.csv", None, None)))


def test_not_a_number_is_a_missing_value() -> None:
    row = of({"text": float("nan"), "label": float("nan")})
    assert (row["text"], row["label"]) == (None, None)


def test_a_whole_number_is_one_label_however_it_is_written() -> None:
    for value in (1, 1.0, "1", "1.0", " 1 "):
        for names in ({"1": "yes"}, {1: "yes"}, {1.0: "yes"}):
            assert of({"text": "a", "label": value}, label_names=names)["label"] == "yes"
    assert of({"text": "a", "label": "1.5"})["label"] == "1.5"


def test_an_id_of_a_group_is_one_however_a_file_writes_it() -> None:
    for value in (7, 7.0, "7", "7.0"):
        assert of({"text": "a", "label": "b", "hotel": value}, group="hotel")["group"] == "7"
    assert of({"text": "a", "label": "b", "hotel": float("nan")}, group="hotel")["group"] is None


def test_a_letter_with_its_accent_is_one_label_in_one_character_or_two() -> None:
    for value in (ONE, TWO):
        assert of({"text": "a", "label": value})["label"] == ONE
        named = {"label_names": {value: "x"}}
        assert of({"text": "a", "label": ONE}, **named)["label"] == "x"
        named = {"label_names": {"1": value}}
        assert of({"text": "a", "label": [1]}, **named, **SEVERAL)["label"] == [ONE]
        given = settings(
            members=[{"path": "a.txt", "label": value}], label_bins={value: {"min": 1}}
        )
        assert given.label_order() == [ONE]


@pytest.mark.parametrize(
    ("name", "known"),
    [("dev", "validation"), ("Train", "train"), ("val", "validation"), (" ", None), (None, None)],
)
def test_usual_names_of_splits_are_known(name: str | None, known: str | None) -> None:
    assert of({"text": "a", "label": "b", "part": name}, split="part")["split"] == known


@pytest.mark.parametrize(
    ("values", "given", "says"),
    [
        ({"text": "a", "label": "b", "part": "holdout"}, {"split": "part"}, "split 'holdout'"),
        ({"text": "a", "label": ["b", "c"]}, {}, "d.csv:7 has a list in the column 'label'"),
        ({"text": {"en": "a"}, "label": "b"}, {}, "d.csv:7 has a dict in the column 'text'"),
        ({"text": "a\ud83d", "label": "b"}, {}, "d.csv:7 has half a character"),
        ({"text": "a", "label": "\ud83d"}, {}, "U+D83D) in the column 'label'"),
        ({"text": "a", "label": ["b", "\ud83d"]}, SEVERAL, "U+D83D) in the column 'label'"),
        ({"a review; 1": ""}, {}, "it has a review; 1. "),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    values: dict[str, Any], given: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as error:
        of(values, **given)
    assert says in str(error.value)


def test_bins_include_their_bounds_and_what_is_between_is_counted() -> None:
    bins = {"low": {"max": -1}, "high": {"min": 1, "max": 3}}
    rows = Rows(settings(label_bins=bins))
    values = [-9, -1, -0.5, 0, 1, 3, 3.1]
    source = [(n, {"text": "a", "label": value}) for n, value in enumerate(values)]
    found = [row["label"] for row in rows.of_file(source, "d.csv", None, None)]
    assert found == ["low", "low", "high", "high"]
    assert rows.left_out == 3


def test_rows_are_written_in_groups(tmp_path: Path) -> None:
    rows = [
        {"row": n, "file": "d", "text": "a", "label": "b", "split": None}
        for n in range(2 * ROWS_A_GROUP + 1)
    ]
    assert write(rows, tmp_path / "rows.parquet", settings()) == len(rows)
    file = pq.ParquetFile(tmp_path / "rows.parquet")
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [ROWS_A_GROUP, ROWS_A_GROUP, 1]
