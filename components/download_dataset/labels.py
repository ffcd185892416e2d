"""From a label column's values to label names."""

from typing import Any

from components.download_dataset.settings import DatasetSettings
from serving.errors import InputError


def label_name(value: Any, settings: DatasetSettings, place: str) -> tuple[str | None, bool]:
    """The label's name (None where the row has none), and whether the row stays.

    Raises InputError for a value that `label_names` does not know, or that is no number where
    `label_bins` needs one.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None, True
    text = _plain(value)
    if settings.label_names:
        if text not in settings.label_names:
            raise InputError(
                f"{place} has the label {text!r}, which dataset.label_names does not know (it "
                f"knows {', '.join(settings.label_names)}). Add it there."
            )
        return settings.label_names[text], True
    if settings.label_bins:
        return _binned(text, settings, place)
    return text, True


def _plain(value: Any) -> str:
    """The label as text; a whole number is the same label as int, float and text."""
    text = str(value).strip()
    head, point, tail = text.partition(".")
    return head if point and tail.strip("0") == "" and head.lstrip("-").isdigit() else text


def _binned(text: str, settings: DatasetSettings, place: str) -> tuple[str | None, bool]:
    try:
        number = float(text)
    except ValueError as error:
        raise InputError(
            f"{place} has the label {text!r}, which is no number, and dataset.label_bins cuts "
            "numbers into ranges."
        ) from error
    for name, bin_ in settings.label_bins.items():
        if bin_.min <= number <= bin_.max:
            return name, True
    return None, False
