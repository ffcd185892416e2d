"""A source's rows in one shape, whatever columns it has: row, file, text, label, split."""

import random
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.download_dataset.labels import label_list, label_name, number, plain
from components.download_dataset.readers import Row
from components.download_dataset.settings import DatasetSettings
from serving.errors import InputError

ROWS_A_GROUP = 10_000
_LABELS = {
    "single_label_classification": pa.string(),
    "multi_label_classification": pa.list_(pa.string()),
    "regression": pa.float64(),
}
_SPLITS = {
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
}


class Rows:
    """Turns readers' rows into ours and counts what the label rules left out."""

    def __init__(self, settings: DatasetSettings) -> None:
        self.left_out = 0
        self.labels: set[str] = set()
        self._settings = settings

    def of_file(
        self, rows: Iterable[Row], file: str, label: str | None, split: str | None
    ) -> Iterator[dict[str, Any]]:
        """Rows of one file; `label` and `split`, where given, hold for all of them."""
        settings = self._settings
        wanted = settings.wanted_columns(labelled=label is not None)
        for count, (at, values) in enumerate(rows):
            place = f"{file}:{at}"
            if count == 0:
                _check_columns(values, wanted, file)
            target, stays = self._target(values, label, place)
            if not stays:
                self.left_out += 1
                continue
            row = {
                "row": at,
                "file": file,
                "text": _text(values, settings.text, place),
                "label": target,
                "split": _split(values, settings.split, place) if settings.split else split,
            }
            if settings.text_pair:
                row["text_pair"] = _text(values, settings.text_pair, place)
            if settings.group:
                group = _text(values, settings.group, place)
                row["group"] = None if group is None else plain(group)
            yield row

    def _target(
        self, values: dict[str, Any], label: str | None, place: str
    ) -> tuple[str | list[str] | float | None, bool]:
        """The row's label as its problem type has it, and whether the row stays."""
        settings = self._settings
        several = settings.problem_type == "multi_label_classification"
        if label is not None:
            self.labels.add(label)
            return [label] if several else label, True
        value = values.get(settings.label)
        if several:
            separator = settings.label_separator
            found = label_list(value, separator, settings.label_names, place)
            for each in found or ():
                _check_whole(each, settings.label, place)
            self.labels.update(found or [])
            return found, True
        value = _scalar(value, settings.label, place)
        if settings.problem_type == "regression":
            self.labels.add(settings.label)  # the name of the model's one output
            return number(value, place), True
        name, stays = label_name(value, settings.label_names, settings.label_bins, place)
        if stays and name is not None:
            _check_whole(name, settings.label, place)
            self.labels.add(name)
        return name, stays


def write(rows: Iterable[dict[str, Any]], path: Path, settings: DatasetSettings) -> int:
    """Write rows.parquet in row groups; returns the number of rows.

    With `limit` the rows are a uniform sample (reservoir, seeded), in their order.
    """
    schema = pa.schema(
        [
            ("row", pa.int64()),
            *((name, pa.string()) for name in ("file", "text")),
            ("label", _LABELS[settings.problem_type]),
            ("split", pa.string()),
            *([("text_pair", pa.string())] if settings.text_pair else []),
            *([("group", pa.string())] if settings.group else []),
        ]
    )
    if settings.limit is not None:
        rows = _sample(rows, settings.limit)
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append(row)
            if len(group) == ROWS_A_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                count += len(group)
                group = []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema))
    return count + len(group)


def _sample(rows: Iterable[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """Algorithm R (Vitter 1985), seeded."""
    chosen: list[tuple[int, dict[str, Any]]] = []
    chance = random.Random(0)
    for place, row in enumerate(rows):
        if len(chosen) < limit:
            chosen.append((place, row))
        elif (slot := chance.randrange(place + 1)) < limit:
            chosen[slot] = (place, row)
    return [row for _, row in sorted(chosen, key=lambda pair: pair[0])]


def _check_columns(values: dict[str, Any], wanted: Sequence[str], file: str) -> None:
    for name in wanted:
        if name not in values:
            there = [str(column)[:40] for column in values]
            near = get_close_matches(name, there, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise InputError(
                f"{file} has no column {name!r}; it has {', '.join(there[:20])}. {hint}Set "
                "dataset.text, dataset.label and the like to the names that the file has; without "
                "a header line set header: false and columns; see also delimiter."
            )


def _scalar(value: Any, column: str, place: str) -> Any:
    """The value, None for the NaN that data frames write for a missing one."""
    if isinstance(value, list | dict | bytes):
        raise InputError(
            f"{place} has a {type(value).__name__} in the column {column!r}, where one value "
            "belongs. Give a column of texts, numbers or booleans."
        )
    return None if value != value else value


def _text(values: dict[str, Any], column: str, place: str) -> str | None:
    value = values.get(column)
    if type(value) is not str:
        value = _scalar(value, column, place)
        return None if value is None else str(value)
    _check_whole(value, column, place)
    return value


def _check_whole(value: str, column: str, place: str) -> None:
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place} has half a character (a lone surrogate, U+{ord(value[error.start]):04X}) "
            f"in the column {column!r}, which no text may have. Mend that row."
        ) from error


def _split(values: dict[str, Any], column: str, place: str) -> str | None:
    name = _text(values, column, place)
    if name is None or not name.strip():
        return None
    known = _SPLITS.get(name.strip().lower())
    if known is None:
        raise InputError(
            f"{place} has the split {name!r}; the column {column!r} may name train, validation "
            "(dev, val, valid) and test. Rename it there, or leave dataset.split out to have the "
            "splits cut."
        )
    return known
