from typing import Any

import pytest

from components.download_dataset.settings import DatasetSettings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "exactly one of"),
        ({"path": "a.csv", "url": "https://x/a.csv"}, "exactly one of"),
        ({"path": "a", "label_names": {"0": "a"}, "label_bins": {"a": {"min": 0}}}, "not both"),
        ({"pypi": {"distribution": "d", "version": "1", "sha256": "0" * 64}}, "pypi needs member"),
        ({"path": "a.csv", "sha256": "abc"}, "should match pattern"),
        ({"path": {"train": "a", "test": "b"}, "sha256": "0" * 64}, "sha256 pins one file"),
        ({"path": "a-*.csv", "sha256": "0" * 64}, "sha256 pins one file"),
        ({"hub": {"id": "a/b"}, "member": "c"}, "hub takes no member"),
        ({"hub": {"id": "a/b", "splits": {}}}, "at least 1 item"),
        ({"path": "a", "header": False}, "header: false needs columns"),
        ({"path": "a", "columns": ["text", "text", "label"]}, "a column twice"),
        ({"path": "a", "columns": ["review", "label"]}, "columns lacks text"),
        ({"path": "a", "label_bins": {"a": {"min": 2, "max": 1}}}, "nothing is in it"),
        ({"path": "a", "label_bins": {"a": {"min": 0}, "b": {"max": 0}}}, "overlap at 0"),
        ({"path": "a", "member": "b", "members": [{"path": "c"}]}, "not both"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_before_anything_is_moved(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        DatasetSettings.model_validate(given)


def test_labels_are_ordered_by_value_whatever_the_order_they_were_given_in() -> None:
    names = {"10": "ten", "2": "two", "-1": "minus", "x": "ex"}
    for given in (names, dict(reversed(names.items()))):
        settings = DatasetSettings(path="a", label_names=given)
        assert settings.label_order() == ["minus", "two", "ten", "ex"]
    bins = {"good": {"min": 1}, "bad": {"max": -1}}
    settings = DatasetSettings.model_validate({"path": "a", "label_bins": bins})
    assert settings.label_order() == ["bad", "good"]


def test_files_that_carry_their_label_need_no_label_column() -> None:
    member = {"path": "b", "label": "x"}
    given = {"path": "a", "format": "csv", "columns": ["text"], "members": [member]}
    assert DatasetSettings.model_validate(given).wanted_columns(labelled=True) == ["text"]
