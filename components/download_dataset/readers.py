"""Rows of a file, one at a time, whatever its format: (line or row number, values by column)."""

import codecs
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from components.download_dataset.settings import DatasetSettings, Format
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


def read(path: Path, settings: DatasetSettings) -> Iterator[Row]:
    """Rows of the file; numbers are those of an editor: lines from 1, a header being line 1.

    Raises InputError that names the place and the remedy for a file that is not what it should be.
    """
    form = settings.format or _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise InputError(
            f"the format of {path.name} cannot be told from its suffix. Set dataset.format to "
            f"one of {', '.join(sorted(set(_SUFFIXES.values())))}."
        )
    if form == "parquet":
        yield from _parquet(path)
        return
    try:
        if form == "text":
            yield from _lines(path, settings)
        elif form == "jsonl":
            yield from _json_lines(path, settings)
        else:
            yield from _separated(path, settings, settings.delimiter or _DELIMITERS[form])
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name} is not {settings.encoding}: byte {error.start} of a block is "
            f"0x{error.object[error.start]:02x}. Set dataset.encoding; Chinese files are often "
            "gb18030."
        ) from error


_DELIMITERS: dict[str, str] = {"csv": ",", "tsv": "\t"}


def _encoding(settings: DatasetSettings) -> str:
    try:
        name = codecs.lookup(settings.encoding).name
    except LookupError as error:
        raise InputError(
            f"dataset.encoding {settings.encoding!r} is unknown; utf-8 and gb18030 are usual."
        ) from error
    return "utf-8-sig" if name == "utf-8" else name  # a byte-order mark is no part of the text


def _separated(path: Path, settings: DatasetSettings, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if settings.quoting else csv.QUOTE_NONE
    with path.open(encoding=_encoding(settings), newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=settings.quoting)
        names = list(settings.columns)
        line = 0
        try:
            for values in reader:
                began, line = line + 1, reader.line_num
                if not values:
                    continue
                if settings.header and began == 1:
                    names = names or [name.strip() for name in values]
                elif len(values) != len(names):
                    raise InputError(
                        f"line {began} of {path.name} has {len(values)} fields, and the "
                        f"{'header' if settings.header else 'config'} names {len(names)} "
                        f"({', '.join(names[:8])}). Mend that line, or check dataset.delimiter, "
                        "quoting, header and columns."
                    )
                else:
                    yield began, {n: v or None for n, v in zip(names, values, strict=True)}
        except csv.Error as error:
            raise InputError(
                f"line {reader.line_num} of {path.name} cannot be read as separated values: "
                f"{error}. Mend it, or set dataset.quoting: false where quotes are plain text."
            ) from error


def _lines(path: Path, settings: DatasetSettings) -> Iterator[Row]:
    with path.open(encoding=_encoding(settings)) as file:
        for number, line in enumerate(file, 1):
            yield number, {settings.text: line.rstrip("\r\n") or None}


def _json_lines(path: Path, settings: DatasetSettings) -> Iterator[Row]:
    with path.open(encoding=_encoding(settings)) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"line {number} of {path.name} is not JSON: {error}.") from error
            if not isinstance(row, dict):
                raise InputError(f"line {number} of {path.name} is no JSON object.")
            yield number, row


def _parquet(path: Path) -> Iterator[Row]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path.name} is not a Parquet file: {error}.") from error
    number = 0
    for batch in file.iter_batches(10_000):
        for row in batch.to_pylist():
            number += 1
            yield number, row
