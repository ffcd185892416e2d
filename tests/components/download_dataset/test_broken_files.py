"""What comes of files as people send them: the rows they give, or the refusal they meet."""

import gzip
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components import folders, storage
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from components.validate_dataset.dataset import validate
from components.validate_dataset.settings import ValidationSettings
from serving.errors import InputError

Rows = list[tuple[str | None, str | None]]
HEAD = b"label,text\n"
LARGE = "长" * 400_000


def archive(**members: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


READABLE: dict[str, tuple[str, bytes, dict[str, Any], Rows]] = {
    "BOM": ("d.csv", b"\xef\xbb\xbflabel,text\na,x\n", {}, [("x", "a")]),
    "CRLF": ("d.csv", b"label,text\r\na,x\r\nb,y\r\n", {}, [("x", "a"), ("y", "b")]),
    "CR alone": ("d.csv", b"label,text\ra,x\rb,y\r", {}, [("x", "a"), ("y", "b")]),
    "no newline at the end": ("d.csv", HEAD + b"a,x", {}, [("x", "a")]),
    "empty lines": ("d.csv", b"\nlabel,text\n\na,x\n\n", {}, [("x", "a")]),
    "quoted newlines": ("d.csv", HEAD + b'a,"x\ny"\nb,z\n', {}, [("x\ny", "a"), ("z", "b")]),
    "doubled quotes": ("d.csv", HEAD + b'a,"say ""x"""\n', {}, [('say "x"', "a")]),
    "quotes as plain text": ("d.csv", HEAD + b'a,5" x\n', {"quoting": False}, [('5" x', "a")]),
    "a cell of 1.2 MB": ("d.csv", HEAD + f"a,{LARGE}\n".encode(), {}, [(LARGE, "a")]),
    "NUL bytes": ("d.csv", HEAD + b"a,x\0y\n", {}, [("x\0y", "a")]),  # validation finds them
    "gzip": ("d.csv.gz", gzip.compress(HEAD + b"a,x\n"), {}, [("x", "a")]),
    "gzip without its suffix": ("d.csv", gzip.compress(HEAD + b"a,x\n"), {}, [("x", "a")]),
    "zip": ("d.zip", archive(**{"d.csv": HEAD + b"a,x\n"}), {"member": "d.csv"}, [("x", "a")]),
    "gb18030, named": (
        "d.csv",
        "label,text\na,好\n".encode("gb18030"),
        {"encoding": "gb18030"},
        [("好", "a")],
    ),
    "UTF-16, named": (
        "d.csv",
        "label,text\na,好\n".encode("utf-16"),
        {"encoding": "utf-16"},
        [("好", "a")],
    ),
    "semicolons, named": ("d.csv", b"label;text\na;x,y\n", {"delimiter": ";"}, [("x,y", "a")]),
    "labels as floats": ("d.csv", HEAD + b"1.0,x\n0.0,y\n", {}, [("x", "1"), ("y", "0")]),
    "labels with spaces": ("d.csv", HEAD + b" a ,x\nb\t,y\n", {}, [("x", "a"), ("y", "b")]),
    "labels of two words": ("d.csv", HEAD + b"very good,x\n", {}, [("x", "very good")]),
    "header with spaces": ("d.csv", b" label , text \na,x\n", {}, [("x", "a")]),
    "empty cells": ("d.csv", HEAD + b"a,\n,x\n", {}, [(None, "a"), ("x", None)]),
    "more columns than asked for": ("d.csv", b"id,label,text,\n1,a,x,\n", {}, [("x", "a")]),
    "JSON Lines with nulls": (
        "d.jsonl",
        b'{"label": true, "text": "x"}\n\n{"label": null, "text": null}\n',
        {},
        [("x", "True"), (None, None)],
    ),
}


@pytest.mark.parametrize("case", READABLE)
def test_a_readable_file_gives_its_rows(store: str, tmp_path: Path, case: str) -> None:
    name, content, settings, expected = READABLE[case]
    (tmp_path / name).write_bytes(content)
    given = DatasetSettings.model_validate({"path": str(tmp_path / name), **settings})
    folders.fetch(download(store, given), tmp_path / "back")
    rows = pd.read_parquet(tmp_path / "back" / "rows.parquet")
    assert list(zip(rows["text"], rows["label"], strict=True)) == expected


BROKEN: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "empty": ("d.csv", b"", {}, "the dataset is empty"),
    "a header alone": ("d.csv", HEAD, {}, "the dataset is empty"),
    "BOM alone": ("d.csv", b"\xef\xbb\xbf", {}, "the dataset is empty"),
    "a field too few": ("d.csv", HEAD + b"a,x\nb\n", {}, "line 3 of d.csv has 1 fields"),
    "a field too many": ("d.csv", HEAD + b"a,x,y\n", {}, "line 2 of d.csv has 3 fields"),
    "an open quote": ("d.csv", HEAD + b'a,"x\n', {}, "the row that begins on line 2"),
    "no header": ("d.csv", b"a,x\nb,y\n", {}, "header: false"),
    "a header's name twice": ("d.csv", b"text,text,label\nx,y,a\n", {}, "text more than once"),
    "another delimiter": ("d.csv", b"label;text\na;x\n", {}, "see also delimiter"),
    "tabs in a .csv": ("d.csv", b"label\ttext\na\tx\n", {}, "see also delimiter"),
    "gb18030, not named": ("d.csv", "label,text\na,好\n".encode("gb18030"), {}, "often gb18030"),
    "Latin-1, not named": ("d.csv", "label,text\na,café\n".encode("latin-1"), {}, "cp1252"),
    "UTF-16, not named": ("d.csv", "label,text\na,x\n".encode("utf-16"), {}, "utf-16"),
    "UTF-16 without BOM": ("d.csv", "label,text\na,x\n".encode("utf-16-le"), {}, "utf-16"),
    "NUL bytes in JSON Lines": ("d.jsonl", b'{"text": "\0"}\n', {}, "Invalid control character"),
    "half a gzip file": ("d.csv.gz", gzip.compress(HEAD + b"a,x\n")[:-9], {}, "not a whole gzip"),
    "half a zip file": ("d.zip", archive(a=b"x" * 99)[:-30], {"member": "a"}, "neither a zip"),
    "a zip without member": ("d.zip", archive(**{"d.csv": HEAD}), {}, "Set dataset.member"),
    "half a Parquet file": ("d.parquet", b"PAR1\x15\x00", {}, "not a whole one"),
    "a JSON list": ("d.jsonl", b'[{"text": "x"}]\n', {}, "line 1 of d.jsonl is no JSON object"),
    "JSON over several lines": ("d.jsonl", b'{\n"text": "x"}\n', {}, "line 1 of d.jsonl is not"),
    "JSON without an end to its lists": (
        "d.jsonl",
        b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        {},
        "line 1 of d.jsonl is not JSON (maximum recursion depth",
    ),
    "half a character": ("d.jsonl", b'{"text": "\\ud83d", "label": 1}', {}, "half a character"),
    "a spreadsheet": ("d.xlsx", b"PK\x03\x04", {}, "Save the sheet as CSV"),
    "a list for a label": ("d.jsonl", b'{"text": "x", "label": ["a"]}', {}, "d.jsonl:1 has a list"),
    "a label without a name": ("d.csv", HEAD + b"7,x\n", {"label_names": {"0": "a"}}, "label '7'"),
    "a word where numbers are cut": (
        "d.csv",
        HEAD + b"good,x\n",
        {"label_bins": {"a": {"min": 0}}},
        "is no number",
    ),
    "a column misspelt": ("d.csv", b"label,texts\na,x\n", {}, "Did you mean texts?"),
    "no label column": ("d.csv", b"lable,text\na,x\n", {}, "no column 'label'; it has lable, text"),
    "an encoding that is none": ("d.csv", HEAD, {"encoding": "utf-99"}, "is unknown"),
    "another hash": ("d.csv", HEAD, {"sha256": "0" * 64}, "has the SHA-256"),
    "no Parquet file": ("d.csv", HEAD, {"format": "parquet"}, "not a Parquet file"),
    "no archive": ("d.csv", HEAD, {"member": "x"}, "neither a zip nor a tar"),
    "all one class": ("d.csv", HEAD + b"".join(b"a,x%d\n" % n for n in range(99)), {}, "two class"),
    "no usable row": ("d.csv", HEAD + b"a,\n,x\n", {}, "no usable rows"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_its_place_and_nothing_is_left(
    store: str, tmp_path: Path, case: str
) -> None:
    name, content, settings, says = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    given = DatasetSettings.model_validate({"path": str(tmp_path / name), **settings})
    with pytest.raises(InputError) as error:
        validate(store, download(store, given), ValidationSettings())
    assert says in str(error.value)
    left = {key.split("/")[0] for key in storage.list_keys(store)}
    assert left <= {"datasets"}  # a whole download may stand; what validation refuses does not
    assert ("datasets" in left) == (case in ("all one class", "no usable row"))
