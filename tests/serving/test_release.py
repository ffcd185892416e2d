import json
from pathlib import Path

import pytest

from serving.errors import InputError
from serving.release import verified_release
from tests.serving.conftest import release


@pytest.fixture
def released(tiny_model: Path, tmp_path: Path) -> Path:
    return release(tiny_model, tmp_path / "release", "v7")


def test_a_whole_release_tells_its_version(released: Path) -> None:
    assert verified_release(released).version == "v7"


def test_a_plain_hugging_face_folder_is_unreleased(tiny_model: Path) -> None:
    assert verified_release(tiny_model).version == "unreleased"


def test_one_changed_byte_is_found(released: Path) -> None:
    weights = released / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors is absent or differs"):
        verified_release(released)


def test_an_absent_file_is_found(released: Path) -> None:
    (released / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json is absent"):
        verified_release(released)


@pytest.mark.parametrize(
    "document",
    [
        *("", "{", "[]", "{}", '{"version": "v7", "files": [{"path": "a"}]}'),
        *('{"version": "", "files": []}', '{"version": "版", "files": []}'),
    ],
)
def test_a_document_that_is_no_release_is_refused(released: Path, document: str) -> None:
    (released / "release.json").write_text(document)
    with pytest.raises(InputError, match="is not a release document"):
        verified_release(released)


def test_a_file_outside_the_release_is_refused(released: Path) -> None:
    document = json.loads((released / "release.json").read_text())
    document["files"][0]["path"] = "../elsewhere"
    (released / "release.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="lies outside the release"):
        verified_release(released)
