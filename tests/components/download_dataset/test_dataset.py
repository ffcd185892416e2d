import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import folders, storage
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from serving.errors import InputError
from tests.http_servers import listening

CSV = 'label,review\n1,"干净，\n""很好"""\n0,太吵\n'


def rows(store: str, **settings: Any) -> pd.DataFrame:
    uri = download(store, DatasetSettings.model_validate(settings))
    return folders.read_table(uri, "rows.parquet")


def pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(frame["text"], frame["label"], strict=True))


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


EXPECTED = [('干净，\n"很好"', "1"), ("太吵", "0")]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Files(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with listening(partial(Files, directory=str(tmp_path))) as url:
        yield url


def test_a_csv_keeps_quoted_newlines_and_tells_lines_as_an_editor_does(
    store: str, csv_file: Path
) -> None:
    found = rows(store, path=str(csv_file), text="review")
    assert pairs(found) == EXPECTED
    assert list(found["row"]) == [2, 4]
    assert set(found["file"]) == {"reviews.csv"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_other_encodings_work_when_named(store: str, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(CSV.replace("\n", "\r\n"), encoding=encoding, newline="")
    named = "utf-8" if encoding == "utf-8-sig" else encoding
    found = rows(store, path=str(path), text="review", encoding=named)
    assert list(found["label"]) == ["1", "0"]
    assert found["text"][1] == "太吵"


def test_the_same_rows_come_from_url_s3_gzip_zip_and_nested_archives(
    store: str, tmp_path: Path, csv_file: Path, web: str
) -> None:
    (tmp_path / "reviews.csv.gz").write_bytes(gzip.compress(csv_file.read_bytes()))
    with zipfile.ZipFile(tmp_path / "reviews.zip", "w") as archive:
        archive.write(csv_file, "deep/reviews.csv")
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        archive.add(csv_file, "reviews.csv")
    with tarfile.open(tmp_path / "outer.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("inner.tar.gz")
        entry.size = len(inner.getvalue())
        archive.addfile(entry, io.BytesIO(inner.getvalue()))
    storage.write_bytes(f"{store}/raw/reviews.csv", csv_file.read_bytes(), "text/csv")
    sources: list[dict[str, Any]] = [
        {"url": f"{web}/reviews.csv"},
        {"s3": f"{store}/raw/reviews.csv"},
        {"path": str(tmp_path / "reviews.csv.gz")},
        {"path": str(tmp_path / "reviews.zip"), "member": "deep/reviews.csv"},
        {"url": f"{web}/outer.tar.gz", "member": ["inner.tar.gz", "reviews.csv"]},
    ]
    for source in sources:
        assert pairs(rows(store, **source, text="review")) == EXPECTED, source


def test_a_headerless_tsv_with_bins_leaves_out_what_is_in_none(store: str, tmp_path: Path) -> None:
    path = tmp_path / "ratings.tsv"
    path.write_text('1\t2.5\tsay "good\n2\t-3\tbad\n3\t0.1\tso so\n')
    found = rows(
        store,
        path=str(path),
        header=False,
        quoting=False,
        columns=["id", "rating", "text"],
        label="rating",
        label_bins={"negative": {"max": -1}, "positive": {"min": 1}},
    )
    assert pairs(found) == [('say "good', "positive"), ("bad", "negative")]


def test_json_lines_and_parquet_take_numbers_pairs_and_splits(store: str, tmp_path: Path) -> None:
    given = [
        {"a": "x", "b": "y", "gold": 1, "part": "train"},
        {"a": "z", "b": None, "gold": 0.0, "part": "test"},
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, given)))
    pq.write_table(pa.Table.from_pylist(given), tmp_path / "d.parquet")
    for name in ("d.jsonl", "d.parquet"):
        found = rows(
            store,
            path=str(tmp_path / name),
            text="a",
            text_pair="b",
            label="gold",
            label_names={0: "no", 1: "yes"},
            split="part",
        )
        assert list(found["label"]) == ["yes", "no"]
        assert list(found["split"]) == ["train", "test"]
        assert found["text_pair"].tolist() == ["y", None]


def test_one_file_a_split_and_one_member_a_label(store: str, tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{name} row,a\n")
    places = {name: str(tmp_path / f"{name}.csv") for name in ("train", "test")}
    found = rows(store, path=places)
    assert list(zip(found["text"], found["split"], strict=True)) == [
        ("train row", "train"),
        ("test row", "test"),
    ]
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        archive.writestr("pos.txt", "great\n\nfine\n")
        archive.writestr("neg.txt", "poor")
    members = [{"path": "neg.txt", "label": "bad"}, {"path": "pos.txt", "label": "good"}]
    found = rows(store, path=str(tmp_path / "both.zip"), members=members)
    assert pairs(found) == [("poor", "bad"), ("great", "good"), (None, "good"), ("fine", "good")]


def test_a_distribution_from_the_package_index_is_verified_and_not_run(store: str) -> None:
    pypi = {
        "distribution": "vaderSentiment",
        "version": "3.3.2",
        "kind": "sdist",
        "sha256": "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    }
    member = [
        "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
        "hutto_ICWSM_2014/tweets_GroundTruth.txt",
    ]
    common = {
        "member": member,
        "format": "tsv",
        "header": False,
        "quoting": False,
        "columns": ["id", "rating", "text"],
        "label": "rating",
        "label_bins": {"neg": {"max": -1}, "pos": {"min": 1}},
    }
    found = rows(store, pypi=pypi, **common)
    assert len(found) > 2000
    with pytest.raises(InputError, match="has the SHA-256 5d7c06"):
        rows(store, pypi={**pypi, "sha256": "0" * 64}, **common)
    with pytest.raises(InputError, match="has no vaderSentiment 9"):
        rows(store, pypi={**pypi, "version": "9"}, **common)
    with pytest.raises(InputError, match="near to it are"):
        rows(store, pypi=pypi, **{**common, "member": ["vaderSentiment-3.3.2/x.gz"]})


def test_limit_takes_the_same_sample_each_time(store: str, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,label\n" + "".join(f"t{n},{n % 2}\n" for n in range(500)))
    first = rows(store, path=str(path), limit=50)
    assert len(first) == 50
    assert list(first["row"]) == sorted(first["row"])
    assert set(first["row"]) != set(range(2, 52))


def test_the_same_source_is_downloaded_once(
    store: str, csv_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = DatasetSettings(path=str(csv_file), text="review")
    first = download(store, settings)
    assert download(store, settings) == first
    assert "cached" in capsys.readouterr().out
    csv_file.write_text(CSV + "1,新\n", encoding="utf-8")
    assert download(store, settings) != first


def test_what_is_not_there_is_named(store: str, tmp_path: Path, web: str) -> None:
    for settings, says in (
        ({"path": str(tmp_path / "absent.csv")}, "there is no file"),
        ({"url": f"{web}/absent.csv"}, "answers 404"),
        ({"url": "http://127.0.0.1:1/d.csv"}, "cannot be fetched"),
        ({"s3": f"{store}/absent.csv"}, "does not exist on S3"),
    ):
        with pytest.raises(InputError, match=says):
            rows(store, **settings)
