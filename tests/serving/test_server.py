"""Swapping, draining and bad starts, each in a process of its own."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from serving.__main__ import options
from tests.serving.conftest import HEAVY, INFER, PREDICT, Server, point, release, until, v2

TEXTS = ["the room was clean", "awful noisy hotel", "好", "a park " * 40]

ENDLESS_LOADS = """
import gc, runpy, sys, threading
def imported():
    from serving import release
    verify = release.verified_release
    def verified_release(folder):
        if folder.name != "one":
            print("loads for ever", flush=True)
            threading.Event().wait()
        return verify(folder)
    from serving import predictor
    predictor.verified_release = verified_release
gc.freeze = imported
sys.argv = ["serving", *sys.argv[3:]]
runpy.run_module("serving", run_name="__main__", alter_sys=True)
"""
"""A server whose second release is so large that its load has no end."""


class Client:
    """Sends one request after the other over kept-alive connections until told to stop."""

    def __init__(self, server: Server, threads: int = 4) -> None:
        self.outcomes: list[int | str] = []
        self.versions: set[str] = set()
        self._url = server.url(PREDICT)
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
                    self.outcomes.append(repr(error))
                    return
                self.outcomes.append(answer.status_code)
                self.versions.add(answer.json()["model_version"])


def begun(server: Server, path: str, length: int) -> socket.socket:
    """A request of which the server has seen the head, and waits for the body."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    head = ["Host: x", "Connection: close", "Expect: 100-continue", f"Content-Length: {length}"]
    connection.sendall("\r\n".join([f"POST {path} HTTP/1.1", *head, "", ""]).encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    return connection


def test_releases_are_swapped_under_load_without_a_failed_request(
    start: Callable[..., Server], tiny_model: Path, tmp_path: Path
) -> None:
    server = start()
    server.wait_for("one")
    body = orjson.dumps(v2(["us"]))
    for_one = begun(server, "/v2/models/hotels/versions/one/infer", len(body))
    with Client(server) as client, for_one:
        until(lambda: "one" in client.versions, server.log)
        point(server.folder, release(tiny_model, tmp_path / "two", "two"))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "two" in client.versions, server.log)
        for_one.sendall(body)
        assert for_one.recv(1000).startswith(b"HTTP/1.1 404 ")

        broken = release(tiny_model, tmp_path / "three", "three")
        (broken / "model.safetensors").write_bytes(b"torn")
        point(server.folder, broken)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "kept version two" in server.log.read_text(), server.log)

        point(server.folder, release(tiny_model, tmp_path / "four", "four"))
        for _ in range(5):  # more signals than loads
            server.process.send_signal(signal.SIGHUP)
        server.wait_for("four")
        until(lambda: "four" in client.versions, server.log)
    assert set(client.outcomes) == {200}
    assert client.versions == {"one", "two", "four"}
    assert server.metric("finegate_reloads_total", outcome="failed") == 1
    assert server.metric("finegate_model_info") == 1
    assert "Traceback" not in server.log.read_text()


def has(server: Server, mask: str, number: signal.Signals) -> bool:
    """Whether a signal is in the process's mask of those blocked (SigBlk) or caught (SigCgt)."""
    assert server.process.poll() is None, server.log.read_text()
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"{mask}:\s*(\w+)", status)
    return bool(found and int(found[1], 16) >> (number - 1) & 1)


def test_a_sighup_while_the_first_release_loads_is_kept_for_later(
    start: Callable[..., Server],
) -> None:
    server = start()
    until(lambda: has(server, "SigBlk", signal.SIGHUP), server.log)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("one")
    until(lambda: server.metric("finegate_reloads_total", outcome="loaded") == 1, server.log)


def test_a_sigterm_while_the_first_release_loads_ends_the_process_with_0(
    start: Callable[..., Server],
) -> None:
    server = start()
    until(lambda: has(server, "SigCgt", signal.SIGTERM), server.log)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert "answers at" not in server.log.read_text()


def test_sigterm_under_load_answers_everything_and_exits_0(start: Callable[..., Server]) -> None:
    server = start("--max-queue", "100000")
    server.wait_for("one")
    with Client(server) as client, ThreadPoolExecutor() as pool, httpx.Client() as probe:
        heavy = pool.submit(server.post, HEAVY)
        until(lambda: server.metric("finegate_waiting_texts") > 1000, server.log)
        ready = server.url("/v2/models/hotels/ready")
        assert probe.get(ready).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        until(lambda: probe.get(ready).status_code == 503, server.log)
        assert probe.get(server.url("/v2/health/ready")).status_code == 503
        late, half_a_second = [], time.monotonic() + 0.5
        while time.monotonic() < half_a_second:  # each over a new connection
            late.append(probe.get(server.url("/v2/models/hotels")))
        assert server.process.wait(40) == 0
    assert {(each.status_code, each.headers["connection"]) for each in late} == {(200, "close")}
    assert set(client.outcomes) == {200}
    assert heavy.result().status_code == 200
    assert len(heavy.result().json()["predictions"]) == 3_000


def ended(folder: Path, *options: str) -> Any:
    command = [sys.executable, "-m", "serving", "--model-name", "hotels", "--host", "127.0.0.1"]
    command += ["--model-dir", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_sigterm_in_the_middle_of_a_reload_waits_for_none_and_exits_0(
    start: Callable[..., Server], tiny_model: Path, tmp_path: Path
) -> None:
    server = start(python=("-c", ENDLESS_LOADS))
    server.wait_for("one")
    point(server.folder, release(tiny_model, tmp_path / "two", "two"))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "loads for ever" in server.log.read_text(), server.log)
    assert server.post({"instances": ["us"]}).json()["model_version"] == "one"
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert server.log.read_text().endswith("stopped\n")


def test_a_port_in_use_is_told_in_one_paragraph(server: Server, tiny_model: Path) -> None:
    both = (("--http-port", server.port, "0"), ("--http-port", 0, str(server.grpc_port)))
    for option, port, grpc_port in both:
        end = ended(tiny_model, option, str(port), "--grpc-port", grpc_port)
        taken = port or grpc_port
        assert end.returncode == 1
        assert end.stderr.startswith(f"error: port {taken} of 127.0.0.1 cannot be bound")
        assert end.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "least"), [("--threads", 0), ("--max-queue", 1), ("--max-wait", 0.001)]
)
def test_numbers_that_mean_nothing_are_refused(
    option: str, least: float, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model-dir", "m", "--model-name", "n", option]
    assert options([*given, str(least)])
    for bad in ("-1", "x", str(least - 1)):
        with pytest.raises(SystemExit):
            options([*given, bad])
        assert f"argument {option}: {bad} is not a" in capsys.readouterr().err


def test_an_absent_folder_is_told_in_one_paragraph(tmp_path: Path) -> None:
    end = ended(tmp_path / "none", "--http-port", "0", "--grpc-port", "0")
    assert (end.returncode, end.stderr.count("\n")) == (1, 1)
    assert end.stderr.startswith(f"error: there is no folder {tmp_path}/none.")


def test_a_text_that_the_model_cannot_answer_is_a_500_and_the_metrics_say_so(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "damaged")
    tensors = load_file(folder / "model.safetensors")
    [dirty] = AutoTokenizer.from_pretrained(folder).encode("dirty", add_special_tokens=False)
    tensors["bert.embeddings.word_embeddings.weight"][dirty] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    server = Server(folder, tmp_path)
    try:
        server.wait_for("unreleased")
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.connect()
        connection.auto_open = 0  # a 500 leaves the connection open
        for path, body, status in (
            (PREDICT, {"instances": ["us", "dirty"]}, 500),
            (INFER, v2(["us", "dirty"]), 500),
            (PREDICT, {"instances": ["us"]}, 200),
        ):
            connection.request("POST", path, orjson.dumps(body))
            answer = connection.getresponse()
            assert (answer.status, b"NaN" in answer.read()) == (status, status == 500)
        assert server.metric("finegate_requests_total", outcome="failed") == 2
        assert 0 < server.metric("finegate_confidence_sum") <= 1
        assert "dirty" not in server.log.read_text()
    finally:
        server.kill()
