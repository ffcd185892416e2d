import hashlib
import json
import shutil
from pathlib import Path

import pytest

from serving.errors import InputError
from serving.release import verified_version


@pytest.fixture
def released(tiny_model: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "release"))
    files = [
        {
            "path": path.name,
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in folder.iterdir()
    ]
    document = {"version": "v7", "files": files}
    (folder / "release.json").write_text(json.dumps(document))
    return folder


def test_a_whole_release_tells_its_version(released: Path) -> None:
    assert verified_version(released) == "v7"


def test_a_plain_hugging_face_folder_is_unreleased(tiny_model: Path) -> None:
    assert verified_version(tiny_model) == "unreleased"


def test_one_changed_byte_is_found(released: Path) -> None:
    weights = released / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors is absent or differs"):
        verified_version(released)


def test_an_absent_file_is_found(released: Path) -> None:
    (released / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json is absent"):
        verified_version(released)
