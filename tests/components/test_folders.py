from pathlib import Path

import pandas as pd
import pytest

from components import folders, storage
from serving.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a.txt").write_text("alpha")
    (source / "deep" / "b.bin").write_bytes(bytes(range(256)) * 5000)
    return source


def test_a_published_folder_comes_back_byte_for_byte(
    store: str, folder: Path, tmp_path: Path
) -> None:
    folders.publish(folder, f"{store}/f", {"kind": "test"})
    manifest = folders.fetch(f"{store}/f", tmp_path / "back")
    assert manifest["kind"] == "test"
    for entry in manifest["files"]:
        back = (tmp_path / "back" / entry["path"]).read_bytes()
        assert back == (folder / entry["path"]).read_bytes()
    assert [entry["path"] for entry in manifest["files"]] == ["a.txt", "deep/b.bin"]


def test_a_folder_without_a_manifest_does_not_exist(store: str, tmp_path: Path) -> None:
    storage.write_bytes(f"{store}/f/a.txt", b"half", "text/plain")
    assert folders.manifest_of(f"{store}/f") is None
    with pytest.raises(InputError, match="was never completed"):
        folders.fetch(f"{store}/f", tmp_path)


def test_a_changed_object_is_never_handed_on(store: str, folder: Path, tmp_path: Path) -> None:
    folders.publish(folder, f"{store}/f", {})
    storage.write_bytes(f"{store}/f/a.txt", b"ALPHA", "text/plain")
    with pytest.raises(InputError, match="changed or damaged"):
        folders.fetch(f"{store}/f", tmp_path / "back")
    assert not (tmp_path / "back" / "a.txt").exists()


def test_files_that_are_there_already_are_not_fetched_again(
    store: str, folder: Path, tmp_path: Path
) -> None:
    folders.publish(folder, f"{store}/f", {})
    folders.fetch(f"{store}/f", tmp_path / "back")
    before = (tmp_path / "back" / "a.txt").stat().st_ino
    folders.fetch(f"{store}/f", tmp_path / "back")
    assert (tmp_path / "back" / "a.txt").stat().st_ino == before


def test_only_the_wanted_files_are_fetched(store: str, folder: Path, tmp_path: Path) -> None:
    folders.publish(folder, f"{store}/f", {})
    manifest = folders.fetch(f"{store}/f", tmp_path / "back", wanted=lambda path: path != "a.txt")
    assert {entry["path"] for entry in manifest["files"]} == {"a.txt", "deep/b.bin"}
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["deep"]


def test_a_table_is_read_whole_or_by_its_columns(store: str, folder: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "label": [1, 2]})
    frame.to_parquet(folder / "deep" / "rows.parquet")
    folders.publish(folder, f"{store}/f", {})
    assert folders.read_table(f"{store}/f", "deep/rows.parquet").equals(frame)
    assert list(folders.read_table(f"{store}/f", "deep/rows.parquet", ["label"])) == ["label"]


def test_the_manifest_of_the_first_publisher_stands(store: str, folder: Path) -> None:
    folders.publish(folder, f"{store}/f", {"by": "first"})
    assert folders.publish(folder, f"{store}/f", {"by": "second"})["by"] == "first"


def test_of_two_attempts_that_differ_the_folder_is_wholly_that_of_the_first_manifest(
    store: str, tmp_path: Path
) -> None:
    uri, files = f"{store}/f", {}
    for attempt, seconds in (("slow", 117), ("fast", 100)):
        folder = tmp_path / attempt
        folder.mkdir()
        (folder / "model.bin").write_bytes(b"the same weights")
        (folder / "training.jsonl").write_text(f'{{"seconds": {seconds}}}')
        files[attempt] = folders.publish_files(folder, uri)
    assert folders.seal(uri, {"by": "fast"}, files["fast"])["by"] == "fast"
    assert folders.seal(uri, {"by": "slow"}, files["slow"])["by"] == "fast"
    assert folders.publish(tmp_path / "slow", uri, {"by": "slow"})["by"] == "fast"
    folders.fetch(uri, tmp_path / "back")
    assert (tmp_path / "back" / "training.jsonl").read_text() == '{"seconds": 100}'
    assert storage.read_json(folders.address(uri, "training.jsonl")) == {"seconds": 100}
    assert storage.read_json(folders.address(uri, "absent.json")) is None
    assert len(storage.list_keys(uri)) == 4  # both logs, the weights once, the manifest


def test_a_copy_has_each_file_at_its_path_wherever_the_source_has_it(
    store: str, folder: Path, tmp_path: Path
) -> None:
    storage.write_bytes(f"{store}/f/a.txt", b"of a killed attempt", "text/plain")
    manifest = folders.publish(folder, f"{store}/f", {})
    entries = folders.copy(f"{store}/f", f"{store}/g", manifest)
    assert storage.read_bytes(f"{store}/g/a.txt") == b"alpha"
    folders.seal(f"{store}/g", {}, entries)
    folders.fetch(f"{store}/g", tmp_path / "back")
    assert storage.list_keys(f"{store}/g") == ["a.txt", "deep/b.bin", "manifest.json"]


def test_a_manifest_cannot_write_outside_the_folder(store: str, tmp_path: Path) -> None:
    files = [{"path": "../escape", "size": 1, "sha256": "0"}]
    storage.write_json(f"{store}/f/manifest.json", {"files": files})
    with pytest.raises(InputError, match="outside the folder"):
        folders.fetch(f"{store}/f", tmp_path / "back")


def test_a_copy_on_the_server_has_the_same_files(store: str, folder: Path, tmp_path: Path) -> None:
    manifest = folders.publish(folder, f"{store}/f", {})
    folders.copy(f"{store}/f", f"{store}/g", manifest)
    assert storage.list_keys(f"{store}/g") == ["a.txt", "deep/b.bin"]
    folders.fetch(f"{store}/g", tmp_path / "back", manifest)
