"""A real ModelServer process, asked over HTTP and gRPC."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from components import predictor_process, processes
from serving.classifier import Classifier

TEXTS = ["the room was clean", "awful noisy hotel", "好", "a park " * 40]


def release(tiny_model: Path, folder: Path, version: str) -> Path:
    shutil.copytree(tiny_model, folder)
    files = [
        {
            "path": path.name,
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in folder.iterdir()
    ]
    (folder / "release.json").write_text(json.dumps({"version": version, "files": files}))
    return folder


class Server:
    """A predictor process on a link to a release."""

    def __init__(self, link: Path, home: Path) -> None:
        self.link = link
        self.port, self.grpc_port = processes.free_ports(2)
        command = [
            *(sys.executable, "-m", "serving", "--model-name", "hotels"),
            *("--model-dir", str(link), "--host", "127.0.0.1"),
            *("--http-port", str(self.port), "--grpc-port", str(self.grpc_port)),
        ]
        self.log = home / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait_for(self, version: str) -> None:
        for _ in range(600):
            if predictor_process.answering_version("hotels", self.port) == version:
                return
            assert self.process.poll() is None, self.log.read_text()
            threading.Event().wait(0.1)
        raise AssertionError(f"{version} never answered: {self.log.read_text()}")

    def post(self, body: Any, path: str = "/v1/models/hotels:predict") -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return httpx.post(
            f"http://127.0.0.1:{self.port}{path}", content=content, headers=headers, timeout=60
        )


@pytest.fixture
def started(tiny_model: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of its own, for tests that swap or stop it."""
    link = tmp_path / "current"
    link.symlink_to(release(tiny_model, tmp_path / "one", "one"))
    server = Server(link, tmp_path)
    try:
        server.wait_for("one")
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    server = Server(release(tiny_model, home / "one", "one"), home)
    try:
        server.wait_for("one")
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def test_v1_answers_names_probabilities_and_the_version(server: Server, tiny_model: Path) -> None:
    answer = server.post({"instances": TEXTS})
    assert (answer.status_code, answer.headers["x-model-version"]) == (200, "one")
    classifier = Classifier.load(tiny_model)
    expected = classifier.classify(TEXTS)
    for row, prediction in zip(expected, answer.json()["predictions"], strict=True):
        scores = {each["label"]: each["score"] for each in prediction["scores"]}
        assert np.allclose([scores[label] for label in classifier.labels], row, atol=1e-5)
        assert prediction["label"] == classifier.labels[row.argmax()]
    assert [each["truncated"] for each in answer.json()["predictions"]] == [0, 0, 0, 1]


def test_a_content_type_with_a_charset_is_json_too(server: Server) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{server.port}/v1/models/hotels:predict",
        content=b'{"instances": ["us"]}',
        headers={"content-type": "application/json; charset=utf-8"},
    )
    assert answer.status_code == 200


def test_v2_over_rest_and_grpc_answers_the_same(server: Server, tiny_model: Path) -> None:
    expected = Classifier.load(tiny_model).classify(TEXTS)
    text = {"name": "text", "shape": [len(TEXTS)], "datatype": "BYTES", "data": TEXTS}
    rest = server.post({"inputs": [text]}, "/v2/models/hotels/infer").json()
    outputs = {each["name"]: each for each in rest["outputs"]}
    assert np.allclose(outputs["probabilities"]["data"], expected.ravel(), atol=1e-5)
    assert rest["model_version"] == "one"

    contents = pb.InferTensorContents(bytes_contents=[text.encode() for text in TEXTS])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[len(TEXTS)], contents=contents
    )
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(pb.ModelInferRequest(model_name="hotels", inputs=[tensor]))
        with pytest.raises(grpc.RpcError) as error:
            stub.ModelInfer(pb.ModelInferRequest(model_name="hotels", inputs=[]))
    names = [output.name for output in answer.outputs]
    raw = answer.raw_output_contents[names.index("probabilities")]
    assert np.allclose(np.frombuffer(raw, dtype=np.float32), expected.ravel(), atol=1e-5)
    assert answer.model_version == "one"
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"null", b"", b"{", b'{"instances": []}', b'{"instances": [null]}', b"\xff\xfe"],
)
def test_bad_input_is_a_400_that_says_why(server: Server, body: bytes) -> None:
    answer = server.post(body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_unknown_model_is_a_404(server: Server) -> None:
    assert server.post({"instances": ["us"]}, "/v1/models/other:predict").status_code == 404


def test_a_body_beyond_the_limit_is_a_413(server: Server) -> None:
    answer = server.post(b'{"instances": ["' + b"x" * (65 << 20) + b'"]}')
    assert answer.status_code == 413


def test_metadata_tells_inputs_outputs_labels_and_version(server: Server) -> None:
    metadata = httpx.get(f"http://127.0.0.1:{server.port}/v2/models/hotels").json()
    assert metadata["versions"] == ["one"]
    assert [each["name"] for each in metadata["inputs"]] == ["text"]
    assert metadata["parameters"]["labels"] == ["praise", "blame", "neutral"]


def test_nobody_can_unload_the_model(server: Server) -> None:
    answer = server.post({}, "/v2/repository/models/hotels/unload")
    assert answer.status_code == 400
    assert server.post({"instances": ["us"]}).status_code == 200


def test_no_text_is_logged(server: Server) -> None:
    secret = "a-very-private-review"
    server.post({"instances": [secret]})
    server.post({"instances": [secret, None]})
    assert secret not in server.log.read_text()


class Client:
    """Sends one text after the other over kept-alive connections until told to stop."""

    def __init__(self, server: Server, threads: int = 4) -> None:
        self.statuses: list[int | str] = []
        self.versions: set[str] = set()
        self._url = f"http://127.0.0.1:{server.port}/v1/models/hotels:predict"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> "Client":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(self._url, json={"instances": TEXTS})
                except httpx.ConnectError:
                    return  # the server is gone; this request never reached it
                except httpx.HTTPError as error:
                    self.statuses.append(repr(error))
                    return
                self.statuses.append(answer.status_code)
                self.versions.add(answer.headers["x-model-version"])


def test_a_reload_under_load_loses_no_request(
    started: Server, tiny_model: Path, tmp_path: Path
) -> None:
    second = release(tiny_model, tmp_path / "two", "two")
    with Client(started) as client:
        fresh = tmp_path / "fresh"
        fresh.symlink_to(second)
        fresh.replace(started.link)
        started.process.send_signal(signal.SIGHUP)
        started.wait_for("two")
    assert client.versions == {"one", "two"}
    assert set(client.statuses) == {200}


def test_a_broken_release_is_not_loaded_and_the_old_one_answers_on(
    started: Server, tiny_model: Path, tmp_path: Path
) -> None:
    broken = release(tiny_model, tmp_path / "two", "two")
    (broken / "model.safetensors").write_bytes(b"torn")
    fresh = tmp_path / "fresh"
    fresh.symlink_to(broken)
    fresh.replace(started.link)
    started.process.send_signal(signal.SIGHUP)
    for _ in range(100):
        if "kept version one" in started.log.read_text():
            break
        threading.Event().wait(0.1)
    else:
        raise AssertionError(started.log.read_text())
    assert started.post({"instances": ["us"]}).json()["model_version"] == "one"


def test_sigterm_under_load_finishes_what_was_accepted_and_exits_0(started: Server) -> None:
    with Client(started) as client:
        while len(client.statuses) < 20:
            threading.Event().wait(0.01)
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(30) == 0
    assert set(client.statuses) <= {200, 503}


def test_a_port_in_use_is_told_in_one_paragraph(server: Server, tiny_model: Path) -> None:
    command = [
        *(sys.executable, "-m", "serving", "--model-name", "hotels", "--host", "127.0.0.1"),
        *("--model-dir", str(tiny_model), "--http-port", str(server.port)),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: port {server.port} of 127.0.0.1 cannot be bound")
    assert "Traceback" not in ended.stderr


def test_the_predictor_imports_no_training_or_pipeline_library() -> None:
    code = (
        "import sys, serving.server, serving.predictor\n"
        "print([m for m in ('kfp', 'datasets', 'boto3', 'sklearn', 'scipy') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr
