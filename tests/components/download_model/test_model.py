import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components import folders, storage
from components.download_model.model import download
from components.download_model.settings import ModelSettings
from serving.errors import InputError
from tests.components.servers import COMMIT, Hub, with_hub
from tests.http_servers import listening


def settings(**given: Any) -> ModelSettings:
    return ModelSettings.model_validate(given)


def names(uri: str) -> set[str]:
    return {entry["path"] for entry in folders.existing(uri)["files"]}


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[str]:
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    with listening(type("Handler", (Hub,), {"datasets": {}, "models": {"org/tiny": files}})) as url:
        yield url


def download_from(endpoint: str, store: str, model: str, home: Path) -> str:
    return with_hub("download_model", {"hub": {"id": model}}, endpoint, store, home)


def test_a_local_folder_travels_without_what_could_run_code(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "modeling_tiny.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    found = names(download(store, settings(path=str(folder))))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= found
    assert not {"modeling_tiny.py", "pytorch_model.bin"} & found


def test_the_same_folder_is_uploaded_once_and_a_changed_one_anew(
    store: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    first = download(store, settings(path=str(folder)))
    assert download(store, settings(path=str(folder))) == first
    assert "cached" in capsys.readouterr().out
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert download(store, settings(path=str(folder))) != first


def test_a_folder_on_s3_comes_over(store: str, tiny_model: Path) -> None:
    for path in tiny_model.iterdir():
        storage.write_bytes(f"{store}/mine/{path.name}", path.read_bytes(), "x/y")
    assert "model.safetensors" in names(download(store, settings(s3=f"{store}/mine")))


def test_a_hub_model_comes_by_its_commit(store: str, hub: str, tmp_path: Path) -> None:
    uri = download_from(hub, store, "org/tiny", tmp_path)
    assert folders.existing(uri)["source"] == {"id": "org/tiny", "revision": COMMIT}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names(uri)


def test_an_unknown_hub_model_is_named(store: str, hub: str, tmp_path: Path) -> None:
    said = download_from(hub, store, "org/absent", tmp_path)
    assert said.startswith("error: download_model: the hub has no model 'org/absent'")


def test_a_hub_out_of_reach_is_told_as_such(store: str, tmp_path: Path) -> None:
    said = download_from("http://127.0.0.1:1", store, "org/tiny", tmp_path)
    assert said.startswith("error: download_model: the model 'org/tiny' cannot be fetched")


def test_an_architecture_is_a_config_alone(store: str) -> None:
    given = {"model_type": "bert", "hidden_size": 64.0, "num_attention_heads": 4}
    uri = download(store, settings(architecture=given))
    assert names(uri) == {"config.json"}
    config = storage.read_json(f"{uri}/config.json")
    assert config["hidden_size"] == 64
    assert isinstance(config["hidden_size"], int)


@pytest.mark.parametrize(
    ("removed", "says"),
    [
        ("config.json", r"no config\.json"),
        ("model.safetensors", r"no \*\.safetensors"),
        (("tokenizer.json", "vocab.txt"), "no tokenizer"),
    ],
)
def test_an_incomplete_model_is_refused_and_nothing_is_written(
    store: str, tiny_model: Path, tmp_path: Path, removed: str | tuple[str, ...], says: str
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    for name in [removed] if isinstance(removed, str) else removed:
        (folder / name).unlink()
    with pytest.raises(InputError, match=says):
        download(store, settings(path=str(folder)))
    assert storage.list_keys(store) == []


def test_a_model_that_needs_its_own_code_is_refused(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "code.Model"}}')
    with pytest.raises(InputError, match="does not run"):
        download(store, settings(path=str(folder)))


def test_what_is_not_there_is_named(store: str) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        download(store, settings(path="/absent"))
    with pytest.raises(InputError, match="not a transformers config"):
        download(store, settings(architecture={"model_type": "no-such-model"}))


@pytest.mark.parametrize(
    "given", [{}, {"path": "a", "s3": "s3://b"}, {"architecture": {}}, {"member": "x"}]
)
def test_settings_that_contradict_themselves_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        settings(**given)
