"""Rows of a file, one at a time, whatever its format: (line or row number, values by column)."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from components.download_dataset.encodings import codec, not_encoded
from components.download_dataset.settings import DatasetSettings, Format
from components.sources import archives
from serving.errors import InputError

Row = tuple[int, dict[str, Any]]
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}
_DELIMITERS: dict[str, str] = {"csv": ",", "tsv": "\t"}
ROWS_A_BATCH = 1_000


def read(path: Path, settings: DatasetSettings, wanted: Sequence[str]) -> Iterator[Row]:
    """Rows of the file; numbers are those of an editor: lines from 1, a header being line 1.

    A row has the `wanted` columns where the file has them, and maybe others. Raises InputError
    that names the place and the remedy for a file that is not what it should be.
    """
    form = _format(path, settings)
    if form == "parquet":
        yield from _parquet(path, wanted)
        return
    try:
        if form == "text":
            yield from _lines(path, settings)
        elif form == "jsonl":
            yield from _json_lines(path, settings)
        else:
            yield from _separated(path, settings, settings.delimiter or _DELIMITERS[form])
    except UnicodeDecodeError as error:
        raise not_encoded(path, settings.encoding) from error


def _format(path: Path, settings: DatasetSettings) -> Format:
    if path.suffix.lower() in (".xlsx", ".xls"):
        raise InputError(
            f"{path.name} is a spreadsheet. Save the sheet as CSV UTF-8 and give that."
        )
    if archives.is_archive(path):
        raise InputError(
            f"{path.name} is an archive. Set dataset.member to the file in it; it has "
            f"{', '.join(archives.names(path)[:8]) or 'none'}."
        )
    form = settings.format or _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise InputError(
            f"the format of {path.name} cannot be told from its suffix. Set dataset.format to "
            f"one of {', '.join(sorted(set(_SUFFIXES.values())))}."
        )
    return form


def _separated(path: Path, settings: DatasetSettings, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if settings.quoting else csv.QUOTE_NONE
    with path.open(encoding=codec(settings.encoding), newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=settings.quoting)
        names = list(settings.columns)
        header_is_next = settings.header
        line = 0
        try:
            for values in reader:
                began, line = line + 1, reader.line_num
                if not values:
                    continue
                if header_is_next:
                    header_is_next = False
                    names = names or _header(values, path)
                elif len(values) != len(names):
                    raise InputError(
                        f"line {began} of {path.name} has {len(values)} fields, and the "
                        f"{'config' if settings.columns else 'header'} names {len(names)} "
                        f"({', '.join(names[:8])}). Mend that line, or check dataset.delimiter, "
                        "quoting, header and columns."
                    )
                else:
                    yield began, {n: v or None for n, v in zip(names, values, strict=True)}
        except csv.Error as error:
            raise InputError(
                f"the row that begins on line {line + 1} of {path.name} cannot be read as "
                f"separated values ({error}). Mend it, or set dataset.quoting: false where quotes "
                "are plain text."
            ) from error


def _header(values: list[str], path: Path) -> list[str]:
    if any("\0" in value for value in values):
        raise InputError(
            f"the header of {path.name} has NUL bytes, as UTF-16 has when it is read as another "
            "encoding. Set dataset.encoding: utf-16-le (or utf-16-be)."
        )
    names = [value.strip() for value in values]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(
            f"the header of {path.name} names {', '.join(twice)} more than once. Give the columns "
            "names of their own with dataset.columns."
        )
    return names


def _lines(path: Path, settings: DatasetSettings) -> Iterator[Row]:
    with path.open(encoding=codec(settings.encoding)) as file:
        for number, line in enumerate(file, 1):
            yield number, {settings.text: line.rstrip("\n") or None}


def _json_lines(path: Path, settings: DatasetSettings) -> Iterator[Row]:
    with path.open(encoding=codec(settings.encoding)) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise InputError(
                    f"line {number} of {path.name} is not JSON ({error}). Mend it; JSON Lines has "
                    "one object a line, and no list around them."
                ) from error
            if not isinstance(row, dict):
                raise InputError(
                    f"line {number} of {path.name} is no JSON object but a {type(row).__name__}. "
                    'JSON Lines has one object a line, as {"text": "...", "label": "..."}.'
                )
            yield number, row


def _parquet(path: Path, wanted: Sequence[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            there = set(wanted) <= set(file.schema_arrow.names)
            number = 0
            columns = list(wanted) if there else None  # all of them, for the error to name
            for batch in file.iter_batches(ROWS_A_BATCH, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path.name} is not a Parquet file, or not a whole one ({error}). Write it again, or "
            "set dataset.format to what it is."
        ) from error
