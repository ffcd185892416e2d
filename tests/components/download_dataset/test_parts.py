from pathlib import Path

import pytest

from components import storage
from components.download_dataset.dataset import download
from components.download_dataset.parts import Part, parts
from components.download_dataset.settings import DatasetSettings
from serving.errors import InputError


def found(tmp_path: Path, **given: object) -> list[Part]:
    return parts(DatasetSettings.model_validate(given), tmp_path, "download_dataset")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "reviews"
    folder.mkdir()
    for name in ("neg.txt", "pos-2.txt", "pos-1.txt"):
        (folder / name).write_text(name)
    return folder


def test_members_of_a_folder_have_labels_of_their_own(
    tmp_path: Path, folder: Path, store: str
) -> None:
    members = [{"path": "neg.txt", "label": "bad"}, {"path": "pos-*.txt", "label": "good"}]
    for path in folder.iterdir():
        storage.write_bytes(f"{store}/raw/{path.name}", path.read_bytes(), "text/plain")
    for source in ({"path": str(folder)}, {"path": f"{folder}/"}, {"s3": f"{store}/raw/"}):
        files = found(tmp_path, **source, members=members)
        assert [(part.name, part.label) for part in files] == [
            ("neg.txt", "bad"),
            ("pos-1.txt", "good"),
            ("pos-2.txt", "good"),
        ]
        assert [part.path(tmp_path).read_text() for part in files] == [part.name for part in files]


def test_a_folder_without_members_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder\. Name its files"):
        _ = [part.identity for part in found(tmp_path, path=str(folder))]


def test_a_member_that_is_absent_from_a_folder_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*/reviews/mixed\.txt"):
        _ = [part.identity for part in found(tmp_path, path=str(folder), member="mixed.txt")]


def test_name_and_split_are_part_of_the_identity(store: str, tmp_path: Path) -> None:
    """A suffix tells the format, so one content under two names is two datasets."""
    for name in ("a.csv", "a.txt"):
        (tmp_path / name).write_text("text,label\na,b\n")
    comma = download(store, DatasetSettings(path=str(tmp_path / "a.csv")))
    lines = {"path": str(tmp_path), "members": [{"path": "a.txt", "label": "x"}]}
    assert comma != download(store, DatasetSettings.model_validate(lines))
    train, test = (
        found(tmp_path, path={split: str(tmp_path / "a.csv")})[0].identity
        for split in ("train", "test")
    )
    assert train != test
