"""From a label column's values to label names."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from components.label_names import one_spelling
from serving.errors import InputError


class Bin(BaseModel):
    """A range of numbers, bounds included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float = -math.inf
    max: float = math.inf

    @model_validator(mode="after")
    def _is_a_range(self) -> "Bin":
        if not self.min <= self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}, so nothing is in it")
        return self


def plain(value: Any) -> str:
    """The label as text in one spelling; a whole number is the same as int, float and text."""
    text = one_spelling(str(value).strip())
    head, point, tail = text.partition(".")
    return head if point and tail.strip("0") == "" and head.lstrip("-").isdigit() else text


def label_name(
    value: Any, names: Mapping[str, str], bins: Mapping[str, Bin], place: str
) -> tuple[str | None, bool]:
    """The label's name (None where the row has none), and whether the row stays.

    Raises InputError for a value that `names` does not know, or that is no number where `bins`
    needs one.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None, True
    text = plain(value)
    if names:
        if text not in names:
            raise InputError(
                f"{place} has the label {text!r}, which dataset.label_names does not know (it "
                f"knows {', '.join(names)}). Add it there."
            )
        return names[text], True
    if bins:
        return _binned(text, bins, place)
    return text, True


def label_list(
    value: Any, separator: str | None, names: Mapping[str, str], place: str
) -> list[str] | None:
    """The names of all labels of a row, sorted and each once; None where the row has no value.

    A list, or a text cut at `separator`; an empty list says that no label applies. Raises
    InputError for anything else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        if separator is None:
            raise InputError(
                f"{place} has the text {value[:40]!r} as labels, where a list belongs. Set "
                "dataset.label_separator to what stands between the names."
            )
        value = value.split(separator)
    if not isinstance(value, list):
        raise InputError(
            f"{place} has a {type(value).__name__} as labels. Give lists, or texts with "
            "dataset.label_separator."
        )
    found = [label_name(each, names, {}, place)[0] for each in value]
    return sorted({name for name in found if name is not None})


def number(value: Any, place: str) -> float | None:
    """The label as a finite number; None where the row has none. Raises InputError for others."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{place} has the label {value!r}, which is no number, and dataset.problem_type is "
            "regression. Mend the row."
        ) from error
    if not math.isfinite(found):
        raise InputError(f"{place} has the label {value!r}, which cannot be learned. Mend the row.")
    return found


def _binned(text: str, bins: Mapping[str, Bin], place: str) -> tuple[str | None, bool]:
    try:
        number = float(text)
    except ValueError as error:
        raise InputError(
            f"{place} has the label {text!r}, which is no number, and dataset.label_bins cuts "
            "numbers into ranges. Mend the row, or name the values with dataset.label_names."
        ) from error
    for name, bin_ in bins.items():
        if bin_.min <= number <= bin_.max:
            return name, True
    return None, False
