import gzip
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.download_dataset.readers import Row, read
from components.download_dataset.settings import DatasetSettings
from components.sources.archives import decompressed
from serving.errors import InputError

WANTED = ("text", "label")


def rows(path: Path, **settings: Any) -> list[Row]:
    given = DatasetSettings.model_validate({"path": str(path), **settings})
    return list(read(path, given, WANTED))


def texts(path: Path, content: bytes, **settings: Any) -> list[tuple[int, str | None]]:
    path.write_bytes(content)
    return [(number, row["text"]) for number, row in rows(path, **settings)]


@pytest.mark.parametrize(
    ("content", "settings", "expected"),
    [
        (b"text,label\r\na,1\r\nb,0\r\n", {}, [(2, "a"), (3, "b")]),
        (b"text,label\ra,1\rb,0", {}, [(2, "a"), (3, "b")]),
        (b"\xef\xbb\xbftext,label\na,1\n", {}, [(2, "a")]),
        (b"\n\ntext,label\n\na,1\n", {}, [(5, "a")]),
        (b" text , label\n a ,1\n", {}, [(2, " a ")]),
        (b'text,label\n"a\nb",1\nc,0\n', {}, [(2, "a\nb"), (4, "c")]),
        (b"text,label\n,1\nNA,0\n", {}, [(2, None), (3, "NA")]),
        (b"text,label\na\x00b,1\n", {}, [(2, "a\x00b")]),
        (b"text;label\na,b;1\n", {"delimiter": ";"}, [(2, "a,b")]),
        (b'a "b,1\n', {"header": False, "columns": WANTED, "quoting": False}, [(1, 'a "b')]),
        (b"review,mark\na,1\n", {"columns": WANTED}, [(2, "a")]),
        ("text,label\n好,1\n".encode("utf-16"), {"encoding": "utf-16"}, [(2, "好")]),
        (b"text,label\n" + b"x" * 1_000_000 + b",1\n", {}, [(2, "x" * 1_000_000)]),
        (b"a\x85b\x0bc\n\nd", {"format": "text", "encoding": "cp1252"}, None),
    ],
)
def test_unusual_but_whole_files_are_read_as_they_stand(
    tmp_path: Path,
    content: bytes,
    settings: dict[str, Any],
    expected: list[tuple[int, str | None]] | None,
) -> None:
    expected = expected or [(1, "a…b\x0bc"), (2, None), (3, "d")]
    assert texts(tmp_path / "d.csv", content, **settings) == expected


@pytest.mark.parametrize(
    ("name", "content", "settings", "says"),
    [
        (
            "d.csv",
            b"text,label\n" + b"a,1\n" * 999 + b"\xff,1\n",
            {},
            "byte 4007 (0xff, line 1001)",
        ),
        ("d.csv", "text,label\n好,1\n".encode("gb18030"), {}, "often gb18030"),
        ("d.csv", "text\n好".encode()[:-1], {}, "byte 5 (0xe5, line 2)"),
        ("d.csv", b"text,text,label\na,b,1\n", {}, "names text more than once"),
        ("d.csv", b'text,label\na,1\n"b,1\n', {}, "begins on line 3"),
        ("d.csv", b'text,label\n"a" b,1\n', {}, "quoting: false"),
        ("d.xlsx", b"PK", {}, "Save the sheet as CSV"),
        ("d", b"text,label\n", {}, "Set dataset.format"),
        ("d.jsonl", b"[\n]\n", {}, "no list around them"),
        ("d.jsonl", b'{"text": "a"}\n"b"\n', {}, "line 2 of d.jsonl is no JSON object but a str"),
        ("d.parquet", b"PAR1", {}, "not a Parquet file"),
    ],
)
def test_a_broken_file_is_told_with_its_place_and_the_remedy(
    tmp_path: Path, name: str, content: bytes, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as error:
        texts(tmp_path / name, content, **settings)
    assert says in str(error.value)


def test_the_place_of_a_wrong_byte_is_right_across_blocks(tmp_path: Path) -> None:
    content = "好".encode() * 400_000 + b"\n\xff"  # blocks of 1 MiB cut through a character
    with pytest.raises(InputError, match=r"byte 1200001 \(0xff, line 2\)"):
        texts(tmp_path / "d.txt", content)


def test_an_archive_without_member_names_what_it_holds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("deep/rows.csv", "text,label\n")
    with pytest.raises(InputError, match=r"Set dataset\.member .* it has deep/rows\.csv"):
        rows(tmp_path / "d.zip")


def test_a_gzip_file_is_read_by_the_suffix_before_gz(tmp_path: Path) -> None:
    (tmp_path / "d.tsv.gz").write_bytes(gzip.compress(b"text\tlabel\na,b\t1\n"))
    found = rows(decompressed(tmp_path / "d.tsv.gz", tmp_path))
    assert found == [(2, {"text": "a,b", "label": "1"})]


def test_parquet_gives_only_the_wanted_columns_unless_one_is_absent(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [1], "photo": [b"x"]}), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == [(1, {"text": "a", "label": 1})]
    pq.write_table(pa.table({"text": ["a"], "mark": [1]}), tmp_path / "b.parquet")
    assert rows(tmp_path / "b.parquet") == [(1, {"text": "a", "mark": 1})]
