import os
import tempfile
from pathlib import Path

import pytest

from components.transfers import TransferError
from components.workspace import workspace
from serving.errors import InputError


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def broken_by(error: Exception) -> None:
    with workspace("step", "key") as folder:
        (folder / "half").write_text("x")
        raise error


def test_what_a_broken_transfer_or_a_defect_left_is_there_the_next_time() -> None:
    for error in (TransferError("broke off"), RuntimeError("a defect")):
        with pytest.raises(type(error)):
            broken_by(error)
        with workspace("step", "key") as again:
            assert (again / "half").read_text() == "x"
        assert not again.exists()


def test_refused_input_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        broken_by(InputError("no such column"))
    assert list(tmp_path.rglob("half")) == []


def test_a_second_process_at_the_same_work_gets_a_folder_of_its_own() -> None:
    with workspace("step", "key") as one, workspace("step", "key") as other:
        assert one != other
        (other / "a").write_text("x")
        assert not (one / "a").exists()


def test_what_nobody_came_back_for_goes_and_is_nobody_elses_business(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), workspace("step", "old") as old:
        raise RuntimeError
    assert old.parent.stat().st_mode & 0o777 == 0o700
    os.utime(old, (0, 0))
    with workspace("step", "other"):
        assert not old.exists()
