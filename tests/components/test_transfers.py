import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components import downloads, folders, storage, transfers
from components.fingerprint import sha256_of
from components.transfers import PART
from serving.errors import InputError
from tests.components.interrupted import run

PARTS = 9
PUBLISH = """
from pathlib import Path
from components import folders
folders.publish(Path(sys.argv[1]), sys.argv[2], {})
"""
FETCH = """
from pathlib import Path
from components import folders
folders.fetch(sys.argv[2], Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of nine parts, the last of them short, and two small files."""
    folder = tmp_path_factory.mktemp("large")
    content = random.Random(0).randbytes((PARTS - 1) * PART + 12345)
    (folder / "large.bin").write_bytes(content)
    (folder / "one.txt").write_text("one")
    (folder / "two.txt").write_text("two")
    return folder


def parts_stored(uri: str, torn: bool = True) -> int:
    """Parts of unfinished uploads that lie on the server; those of which a piece is absent too."""
    bucket, key = storage.split(f"{uri}/large.bin")
    found = storage.client().list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
    parts = [
        part
        for upload in found
        for part in storage.client()
        .list_parts(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
        .get("Parts", [])
    ]
    return sum(torn or part["Size"] in (PART, 12345) for part in parts)


@pytest.mark.parametrize(
    "moment",
    [
        ("PutObject", 1),
        ("CreateMultipartUpload", 1),
        ("UploadPart", 1),
        ("UploadPart", 5),
        ("UploadPart", PARTS),
        ("CompleteMultipartUpload", 1),
        ("PutObject", 3),  # the manifest
    ],
)
def test_a_killed_upload_goes_on_where_it_stopped_and_is_not_seen_before(
    store: str, large: Path, tmp_path: Path, moment: tuple[str, int]
) -> None:
    uri = f"{store}/f"
    first = run(PUBLISH, str(large), uri, home=tmp_path / "home", kill_at=moment)
    assert folders.manifest_of(uri) is None
    whole = set(storage.list_keys(uri))
    there = PARTS if "large.bin" in whole else parts_stored(uri, torn=False)
    again = run(PUBLISH, str(large), uri, home=tmp_path / "home")
    # The server may still have been at the parts that were on their way: those count as well.
    assert again["UploadPart"] <= PARTS - there
    assert again["UploadPart"] >= PARTS - first["UploadPart"]
    assert again["PutObject"] <= 1 + len({"one.txt", "two.txt"} - whole)
    if moment in (("CompleteMultipartUpload", 1), ("PutObject", 3)):
        assert again["UploadPart"] == 0
    folders.fetch(uri, tmp_path / "back")
    for path in large.iterdir():
        assert sha256_of(tmp_path / "back" / path.name) == sha256_of(path)
    assert parts_stored(uri) == 0


def test_a_part_that_was_torn_is_sent_again_and_those_beside_it_are_not(
    store: str, large: Path, tmp_path: Path
) -> None:
    uri = f"{store}/f"
    bucket, key = storage.split(f"{uri}/large.bin")
    content = (large / "large.bin").read_bytes()
    client = storage.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    for number, size in ((1, PART), (2, PART // 2), (3, PART)):
        part = content[(number - 1) * PART :][:size]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part)
    again = run(PUBLISH, str(large), uri, home=tmp_path / "home")
    assert again["UploadPart"] == PARTS - 2
    folders.fetch(uri, tmp_path / "back")
    assert sha256_of(tmp_path / "back" / "large.bin") == sha256_of(large / "large.bin")
    assert parts_stored(uri) == 0


@pytest.mark.parametrize("number", [1, 2, 6, PARTS + 3])
def test_a_killed_download_goes_on_where_it_stopped(
    store: str, large: Path, tmp_path: Path, number: int
) -> None:
    uri, back = f"{store}/f", tmp_path / "back"
    folders.publish(large, uri, {})
    run(FETCH, str(back), uri, home=tmp_path / "home", kill_at=("GetObject", number))
    assert not (back / "large.bin").exists()
    record = back / "large.bin.parts"
    there = len(record.read_text().splitlines()) - 1 if record.exists() else 0
    small = sum((back / name).exists() for name in ("one.txt", "two.txt"))
    again = run(FETCH, str(back), uri, home=tmp_path / "home")
    assert again["GetObject"] == 1 + (2 - small) + PARTS - there  # 1 is the manifest
    assert {path.name for path in back.iterdir()} == {path.name for path in large.iterdir()}
    assert sha256_of(back / "large.bin") == sha256_of(large / "large.bin")


def test_what_another_try_left_of_another_file_is_not_mixed_in(
    store: str, large: Path, tmp_path: Path
) -> None:
    uri = f"{store}/f"
    run(PUBLISH, str(large), uri, home=tmp_path / "home", kill_at=("UploadPart", 6))
    other = tmp_path / "other"
    other.mkdir()
    (other / "large.bin").write_bytes(os.urandom((large / "large.bin").stat().st_size))
    folders.publish(other, uri, {})
    folders.fetch(uri, tmp_path / "back")
    assert sha256_of(tmp_path / "back" / "large.bin") == sha256_of(other / "large.bin")

    half = tmp_path / "half"
    half.mkdir()
    (half / "large.bin.partial").write_bytes(b"x" * 99)
    (half / "large.bin.parts").write_text('{"another": "file"}\n0\n1\n')
    folders.fetch(uri, half)
    assert sha256_of(half / "large.bin") == sha256_of(other / "large.bin")

    (other / "large.bin").write_bytes(b"small")
    folders.publish(other, f"{store}/small", {})
    (half / "large.bin").unlink()
    (half / "large.bin.partial").write_bytes(b"x" * 99)
    (half / "large.bin.parts").write_text('{"another": "file"}\n0\n1\n')
    folders.fetch(f"{store}/small", half)
    assert (half / "large.bin").read_bytes() == b"small"
    assert [path.name for path in half.iterdir()] == ["large.bin"]


def test_large_files_that_differ_and_race_leave_one_whole_folder_and_no_parts(
    store: str, large: Path, tmp_path: Path
) -> None:
    content = (large / "large.bin").read_bytes()
    sources = []
    for number in range(3):
        sources.append(tmp_path / str(number))
        sources[-1].mkdir()
        # Alike to the last part: one process takes the parts of another's upload for its own.
        (sources[-1] / "large.bin").write_bytes(content[:-1] + bytes([number]))
    for race in range(2):
        uri = f"{store}/{race}"
        with ThreadPoolExecutor(3) as pool:
            ended = list(
                pool.map(lambda source, uri=uri: folders.publish(source, uri, {}), sources)
            )
        assert ended[0] == ended[1] == ended[2]
        folders.fetch(uri, tmp_path / f"back-{race}")
        assert parts_stored(uri) == 0


def test_an_upload_that_another_process_aborts_is_made_at_a_place_of_its_own(
    store: str, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, client = f"{store}/f", storage.client()
    send = client.upload_part

    def aborted(**given: Any) -> Any:
        if given["PartNumber"] == 3 and given["Key"].endswith("/f/large.bin"):
            address = {key: given[key] for key in ("Bucket", "Key", "UploadId")}
            client.abort_multipart_upload(**address)
        return send(**given)

    monkeypatch.setattr(client, "upload_part", aborted)
    folders.publish(large, uri, {})
    folders.fetch(uri, tmp_path / "back")
    assert sha256_of(tmp_path / "back" / "large.bin") == sha256_of(large / "large.bin")


def test_an_upload_that_ends_while_it_is_looked_at_is_not_continued(
    store: str, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, client = f"{store}/f", storage.client()
    bucket, key = storage.split(f"{uri}/large.bin")
    client.create_multipart_upload(Bucket=bucket, Key=key)
    paginators = client.get_paginator

    def ended_before(operation: str) -> Any:
        if operation == "list_parts":
            for each in client.list_multipart_uploads(Bucket=bucket, Prefix=key)["Uploads"]:
                client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=each["UploadId"])
        return paginators(operation)

    monkeypatch.setattr(client, "get_paginator", ended_before)
    folders.publish(large, uri, {})
    folders.fetch(uri, tmp_path / "back")
    assert parts_stored(uri) == 0
    assert set(storage.list_keys(uri)) == {"large.bin", "manifest.json", "one.txt", "two.txt"}


def test_an_object_of_another_size_or_content_is_refused(
    store: str, large: Path, tmp_path: Path
) -> None:
    uri, size = f"{store}/f", (large / "large.bin").stat().st_size
    folders.publish(large, uri, {})
    with pytest.raises(InputError, match="bytes where"):
        downloads.download(f"{uri}/large.bin", tmp_path / "a", size=size - 1)
    with pytest.raises(InputError, match="does not have the SHA-256"):
        downloads.download(f"{uri}/large.bin", tmp_path / "b", size=size, sha256="0" * 64)
    with pytest.raises(InputError, match=r"PreconditionFailed"):
        downloads.download(f"{uri}/large.bin", tmp_path / "c", size=size, etag='"another"')
    assert not {"a", "b", "c"} & {path.name for path in tmp_path.iterdir()}


def test_an_object_has_ten_thousand_parts_at_most() -> None:
    assert transfers.part_size(PART + 1) == PART
    for size in (80 << 30, (80 << 30) + 1, 5 << 40):
        assert size <= transfers.part_size(size) * transfers.MOST_PARTS
