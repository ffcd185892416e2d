"""The predictor as its users meet it: a process that answers over HTTP and gRPC."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import torch
from hypothesis import settings
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

from components import predictor_process, processes

settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("deep", max_examples=1000)
settings.load_profile("same")  # --hypothesis-profile=deep comes later and wins

PREDICT = "/v1/models/hotels:predict"
INFER = "/v2/models/hotels/infer"
HEAVY = {"instances": ["the room was clean and quiet " * 4] * 3_000}
"""A second or more of work for one thread, so that it is still going on when a test looks."""


def v2(data: list[Any], **more: Any) -> dict[str, Any]:
    """A V2 request of one input, `text`."""
    tensor = {"name": "text", "shape": [len(data)], "datatype": "BYTES", "data": data}
    return {"inputs": [{**tensor, **more}]}


def release(model: Path, folder: Path, version: str, **more: Any) -> Path:
    """A copy of a model's folder with the release.json that a promotion writes."""
    shutil.copytree(model, folder)
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in folder.rglob("*")
        if path.is_file()
    ]
    document = {"name": "hotels", "version": version, "files": files, **more}
    (folder / "release.json").write_text(json.dumps(document))
    return folder


def point(link: Path, folder: Path) -> None:
    """Point the link at another folder in one step, as a promotion does."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(folder)
    fresh.replace(link)


def until(true: Callable[[], bool], log: Path, seconds: float = 60) -> None:
    """Poll until `true`; fails with the server's log after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.02)


class Server:
    """A predictor process on a release folder or a link to one."""

    def __init__(self, folder: Path, home: Path, *options: str, python: tuple[str, ...] = ()):
        self.port, self.grpc_port = processes.free_ports(2)
        self.folder, self.log = folder, home / "server.log"
        command = [
            *(sys.executable, *python, "-m", "serving", "--threads", "1"),
            *("--model-name", "hotels", "--model-dir", str(folder), "--host", "127.0.0.1"),
            *("--http-port", str(self.port), "--grpc-port", str(self.grpc_port), *options),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait_for(self, version: str) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return predictor_process.answering_version("hotels", self.port) == version

        until(answers, self.log)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url(path), timeout=60)

    def post(
        self, body: Any, path: str = PREDICT, content_type: str = "application/json", **headers: str
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": content_type, **headers}
        return httpx.post(self.url(path), content=content, headers=sent, timeout=60)

    def metric(self, name: str, **labels: str) -> float:
        """A sample's value, summed over the labels that are not given."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def stub(self) -> GRPCInferenceServiceStub:
        channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}")
        return GRPCInferenceServiceStub(channel)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from threads, and OpenMP's spin for cores that others use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that only ask; its log lists what it imported."""
    home = tmp_path_factory.mktemp("server")
    folder = release(tiny_model, home / "one", "one")
    server = Server(folder, home, python=("-X", "importtime"))
    try:
        server.wait_for("one")
        yield server
    finally:
        server.kill()


@pytest.fixture
def start(tiny_model: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server of the test's own on the link `current`, which points to release `one`."""
    started: list[Server] = []

    def starting(*options: str, python: tuple[str, ...] = ()) -> Server:
        link = tmp_path / "current"
        link.symlink_to(release(tiny_model, tmp_path / "one", "one"))
        started.append(Server(link, tmp_path, *options, python=python))
        return started[-1]

    yield starting
    for server in started:
        server.kill()
