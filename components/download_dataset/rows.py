"""A source's rows in one shape, whatever columns it has: row, file, text, label, split."""

import random
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.download_dataset.labels import label_name
from components.download_dataset.readers import Row
from components.download_dataset.settings import DatasetSettings, Member
from serving.errors import InputError

ROWS_A_GROUP = 10_000


class Rows:
    """Turns readers' rows into ours and counts what the label rules left out."""

    def __init__(self, settings: DatasetSettings) -> None:
        self.left_out = 0
        self.labels: set[str] = set()
        self._settings = settings

    def of_file(
        self, rows: Iterable[Row], file: str, part: Member | None, split: str | None
    ) -> Iterator[dict[str, Any]]:
        """Rows of one file; a part's label and split hold for all of them."""
        settings = self._settings
        wanted = [settings.text, *filter(None, (settings.text_pair, settings.split))]
        constant = part.label if part else None
        if constant is None:
            wanted.append(settings.label)
        checked = False
        for number, values in rows:
            place = f"{file}:{number}"
            if not checked:
                _check_columns(values, wanted, file)
                checked = True
            label, stays = (
                (constant, True)
                if constant is not None
                else label_name(values.get(settings.label), settings, place)
            )
            if not stays:
                self.left_out += 1
                continue
            if label is not None:
                self.labels.add(label)
            row = {
                "row": number,
                "file": file,
                "text": _text(values.get(settings.text)),
                "label": label,
                "split": _text(values.get(settings.split)) if settings.split else split,
            }
            if settings.text_pair:
                row["text_pair"] = _text(values.get(settings.text_pair))
            yield row


def write(rows: Iterable[dict[str, Any]], path: Path, settings: DatasetSettings) -> int:
    """Write rows.parquet in row groups; returns the number of rows.

    With `limit` the rows are a uniform sample (reservoir, seeded), in their order.
    """
    schema = pa.schema(
        [
            ("row", pa.int64()),
            *((name, pa.string()) for name in ("file", "text", "label", "split")),
            *([("text_pair", pa.string())] if settings.text_pair else []),
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


def _check_columns(values: dict[str, Any], wanted: list[str], file: str) -> None:
    for name in wanted:
        if name not in values:
            near = get_close_matches(name, values, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise InputError(
                f"{file} has no column {name!r}; it has {', '.join(map(str, values))}. {hint}Set "
                "dataset.text, dataset.label and the like to the names that the file has."
            )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
