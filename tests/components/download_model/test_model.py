import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from components import folders, storage
from components.download_model.model import download
from components.download_model.settings import ModelSettings
from serving.errors import InputError

COMMIT = "a" * 40


def settings(**given: Any) -> ModelSettings:
    return ModelSettings.model_validate(given)


def names(uri: str) -> set[str]:
    return {entry["path"] for entry in folders.existing(uri)["files"]}


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as a snapshot of one model needs."""

    folder: Path

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/org/tiny/tree/"):
            tree = [
                {"type": "file", "path": each.name, "size": each.stat().st_size, "oid": each.name}
                for each in self.folder.iterdir()
            ]
            self._answer(200, json.dumps(tree).encode(), {"content-type": "application/json"})
        elif path.startswith("/api/models/org/tiny"):
            files = [{"rfilename": each.name} for each in self.folder.iterdir()]
            body = json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": files}).encode()
            self._answer(200, body, {"content-type": "application/json"})
        elif path.startswith(f"/org/tiny/resolve/{COMMIT}/"):
            name = path.rsplit("/", 1)[1]
            body = (self.folder / name).read_bytes()
            self._answer(200, body, {"etag": f'"{name}"', "x-repo-commit": COMMIT})
        else:
            self._answer(404, b"{}", {"x-error-code": "RepoNotFound"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[str]:
    handler = type("Handler", (_Hub,), {"folder": tiny_model})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def download_from(endpoint: str, store: str, model: str, home: Path) -> str:
    """`download` in a process of its own, since huggingface_hub reads HF_ENDPOINT at import."""
    code = (
        "import sys\n"
        "from components.console import step\n"
        "from components.download_model.model import download\n"
        "from components.download_model.settings import ModelSettings\n"
        "with step('download_model'):\n"
        "    hub = {'id': sys.argv[2], 'revision': 'main'}\n"
        "    print(download(sys.argv[1], ModelSettings(hub=hub)))\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    ended = subprocess.run(
        [sys.executable, "-c", code, store, model],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.stdout.strip().splitlines()[-1] if ended.stdout else ended.stderr


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
