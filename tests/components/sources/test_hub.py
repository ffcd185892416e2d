import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from components import folders
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from components.sources.hub import dataset_commit, model_commit
from components.sources.settings import HubDatasetSource, HubModelSource
from serving.errors import InputError

COMMIT = "b" * 40
MODEL = "c" * 40


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as one dataset, and one model without safetensors, need."""

    files: dict[str, bytes]

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.split("?")[0]
        named = path.removeprefix(f"/datasets/org/reviews/resolve/{COMMIT}/")
        tree = f"/api/datasets/org/reviews/tree/{COMMIT}"
        if named != path:
            known = named in self.files
            headers = {"x-repo-commit": COMMIT, "etag": f'"{named}"'}
            if not known:
                headers["x-error-code"] = "EntryNotFound"
            self._send(200 if known else 404, self.files.get(named, b""), headers)
        elif path.startswith(tree):
            folder = path.removeprefix(tree).strip("/")
            self._send_json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": name}
                    for name, content in self.files.items()
                    if name.startswith(folder)
                ]
                + ([] if folder else [{"type": "directory", "path": "data", "oid": "data"}])
            )
        elif path.startswith("/api/datasets/org/reviews"):
            self._send_json(self._info("org/reviews", COMMIT, list(self.files)))
        elif path == "/api/models/org/old/refs":
            pulls = [{"name": f"{n}", "ref": f"refs/pr/{n}", "targetCommit": MODEL} for n in (2, 9)]
            self._send_json({"branches": [], "converts": [], "tags": [], "pullRequests": pulls})
        elif path in ("/api/models/org/old/revision/refs%2Fpr%2F2",):
            self._send_json(self._info("org/old", MODEL, ["config.json", "model.safetensors"]))
        elif path.startswith("/api/models/org/old/tree/"):
            weights = "model.safetensors" if path.endswith("2Fpr%2F2") else "pytorch_model.bin"
            names = ("config.json", "vocab.txt", weights)
            self._send_json([{"type": "file", "path": n, "size": 2, "oid": n} for n in names])
        elif path.startswith("/api/models/org/old"):
            names = ["config.json", "vocab.txt", "pytorch_model.bin"]
            self._send_json(self._info("org/old", MODEL, names))
        elif path.startswith(f"/org/old/resolve/{MODEL}/"):
            body = b'{"model_type": "bert"}' if path.endswith("config.json") else b"a"
            self._send(200, body, {"x-repo-commit": MODEL, "etag": f'"{len(path)}"'})
        else:
            self._send(404, b"", {"x-error-code": "RepoNotFound"})

    @staticmethod
    def _info(name: str, commit: str, files: list[str]) -> dict[str, object]:
        return {"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]}

    def _send_json(self, document: object) -> None:
        self._send(200, json.dumps(document).encode(), {"content-type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    labels = Features({"text": Value("string"), "label": ClassLabel(names=["差评", "好评"])})
    path = tmp_path_factory.mktemp("hub") / "rows.parquet"
    files = {"README.md": b"---\n{}\n---\n"}
    for split, rows in (("train", [1, 0]), ("test", [0, -1])):
        table = {"text": [f"{split} {n}" for n in range(2)], "label": rows}
        Dataset.from_dict(table, features=labels).to_parquet(str(path))
        files[f"data/{split}-00000-of-00001.parquet"] = path.read_bytes()
    handler = type("Handler", (_Hub,), {"files": files})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def run(step: str, settings: dict[str, object], endpoint: str, store: str, home: Path) -> str:
    """The step's last line, in a process of its own: HF_ENDPOINT is read at import."""
    folder, model = step, step.removeprefix("download_")
    code = (
        "import json, sys\n"
        "from components.console import step\n"
        f"from components.{folder}.{model} import download\n"
        f"from components.{folder}.settings import {model.title()}Settings as Settings\n"
        f"with step('{step}'):\n"
        "    print(download(sys.argv[1], Settings.model_validate(json.loads(sys.argv[2]))))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, store, json.dumps(settings)],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.stdout.strip().splitlines()[-1] if ended.stdout else ended.stderr


def test_a_hub_dataset_comes_with_its_splits_label_names_and_commit(
    hub: str, store: str, tmp_path: Path
) -> None:
    source = {"id": "org/reviews", "splits": {"train": "train", "test": "test"}}
    uri = run("download_dataset", {"hub": source}, hub, store, tmp_path)
    manifest = folders.fetch(uri, tmp_path)
    assert manifest["source"][0]["revision"] == COMMIT
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [(row["text"], row["label"], row["split"], row["row"]) for row in rows] == [
        ("train 0", "好评", "train", 1),
        ("train 1", "差评", "train", 2),
        ("test 0", "差评", "test", 1),
        ("test 1", None, "test", 2),  # the hub writes -1 for a label that is kept secret
    ]
    # The commit is known now, so a second run needs no hub at all.
    settings = DatasetSettings.model_validate({"hub": {**source, "revision": COMMIT}})
    assert download(store, settings) == uri


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"id": "org/absent"}, "the hub has no dataset 'org/absent' at revision 'main'"),
        ({"id": "org/absent", "revision": COMMIT}, "the hub has no dataset 'org/absent'"),
        ({"id": "org/reviews", "config": "nope"}, "BuilderConfig 'nope' not found"),
        ({"id": "org/reviews", "splits": {"train": "nope"}}, 'Unknown split "nope"'),
        ({"id": "a/b/c"}, "does not fit its settings"),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    hub: str, store: str, tmp_path: Path, source: dict[str, object], says: str
) -> None:
    said = run("download_dataset", {"hub": source}, hub, store, tmp_path)
    assert said.startswith("error: download_dataset: ")
    assert says in said


def test_a_hub_out_of_reach_is_told_as_such(store: str, tmp_path: Path) -> None:
    source = {"id": "org/reviews"}
    said = run("download_dataset", {"hub": source}, "http://127.0.0.1:1", store, tmp_path)
    assert "'org/reviews' cannot be fetched from the hub" in said


def test_a_model_of_pickles_is_refused_with_the_revision_that_has_safetensors(
    hub: str, store: str, tmp_path: Path
) -> None:
    said = run("download_model", {"hub": {"id": "org/old"}}, hub, store, tmp_path)
    assert "Its revision refs/pr/2 has them: set base_model.hub.revision" in said


def test_a_commit_names_itself() -> None:
    assert dataset_commit(HubDatasetSource(id="org/absent", revision=COMMIT)) == COMMIT
    assert model_commit(HubModelSource(id="org/absent", revision=MODEL)) == MODEL


def test_an_id_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"Check hub\.id"):
        model_commit(HubModelSource(id="no such/id here"))
