"""The predictor against its peers: `python -m benchmarks.serving [--json FILE]`.

Starts each server itself, on the same texts, threads and model, and drives them from this process
over the same cores, as a sidecar would. Each round measures every row, one server after another,
and the others are stopped meanwhile (LitServe's processes poll when nobody asks them). A ceiling is
measured before and after each row that is held against it, and is their mean: a shared host can
change its speed by a quarter within seconds. Of each row the median of the rounds is told, and of
each ratio that of the rounds' ratios; of the health endpoint all rounds.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import httpx
import numpy as np
import psutil
import uvloop

from benchmarks import load, models, peers
from benchmarks.results import Target, finish, show
from benchmarks.serving_targets import (
    CONCURRENCIES,
    EXACT,
    LITSERVE,
    PEER,
    REDUCED,
    TARGET_CONCURRENCIES,
    TEXTS_A_REQUEST,
    Key,
    Row,
    Tries,
    median,
    order,
    row_of,
    targets_of,
)
from components import processes
from serving.cores import available_cores

HELD = [f"finegate {backend}" for backend in (EXACT, *REDUCED)]
"""What targets hold against its ceiling."""
WARM_UP, WARM_UP_TEXTS = 1.5, 128
"""Seconds, and texts under way at most. OpenVINO makes kernels for each number of tokens."""
CEILING_TEXTS = 512
"""Of a call of a loop without a server: a ceiling is to take no longer than the row beside it."""


def main() -> None:
    """Measure, print the table and the targets, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shapes", nargs="+", choices=list(models.SHAPES), default=list(models.SHAPES)
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of a row")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of the models")
    parser.add_argument("--json", type=Path, help="file for rows and targets")
    given = parser.parse_args()
    # As Ctrl-C: whoever ends the benchmark ends its servers, which could not end themselves.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows: list[Row] = []
    targets: list[Target] = []
    for shape in given.shapes:
        with tempfile.TemporaryDirectory() as home:
            tries = _measure(shape, Path(home), given.threads, given.rounds, given.seconds)
        rows += [median(tries[key]) for key in sorted(tries, key=order)]
        targets += targets_of(shape, tries)
    show(rows)
    finish(rows, targets, given.json)


def _measure(shape: str, home: Path, threads: int, rounds: int, seconds: float) -> Tries:
    folders = models.write_models(shape, home)
    texts = models.texts(1024)
    servers = {f"finegate {name}": folder for name, folder in folders.items()}
    servers |= {PEER: folders["pytorch"], LITSERVE: folders[EXACT]}
    cells = list(itertools.product(TEXTS_A_REQUEST, CONCURRENCIES))
    tries: Tries = {}
    probes: dict[Key, list[float]] = {}
    with ExitStack() as stack:
        running = [
            (name, stack.enter_context(_server(name, folder, home, threads)))
            for name, folder in servers.items()
        ]
        pools = {
            f"finegate {backend}": stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
            for backend in folders
        }

        def no_server(name: str, in_hand: int = 0) -> float:
            few = texts[:CEILING_TEXTS]
            given = (peers.no_server, servers[name], few, threads, seconds / 2, in_hand)
            return pools[name].submit(*given).result()

        for number in range(rounds):
            first = number % len(running)
            turned = [*running[first:], *running[:first]]
            for name, in_hand in itertools.product(pools, (0, *TARGET_CONCURRENCIES)):
                key = (name.replace("finegate", "no server,"), in_hand, 0)
                row = row_of(shape, *key, no_server(name, in_hand))
                tries.setdefault(key, []).append(row)
            for size, concurrency in cells:
                for name, server in turned:
                    held = concurrency in TARGET_CONCURRENCIES and name in HELD
                    ceilings = [no_server(name)] if held else []
                    with server.going():
                        measured, health = uvloop.run(
                            drive(server, texts, size, concurrency, seconds)
                        )
                        memory = _memory(server.process)
                    key = (name, concurrency, size)
                    probes.setdefault(key, []).extend(health.milliseconds)
                    row = row_of(shape, *key, measured.requests * size / measured.seconds)
                    if held:
                        row["ceiling"] = float(np.mean([*ceilings, no_server(name)]))
                    row["p50_ms"], row["p99_ms"] = map(measured.percentile, (50, 99))
                    row["rss_mb"] = memory
                    show([{"round": number, **row}], head=False)
                    tries.setdefault(key, []).append(row)
    for key, milliseconds in probes.items():
        for row in tries[key]:
            row["health_p99_ms"] = float(np.percentile(milliseconds, 99))
    return tries


@dataclass(frozen=True)
class Server:
    """A server process, its port and its paths. It is stopped unless it is `going`."""

    process: psutil.Process
    port: int
    predict: str
    health: str

    @contextmanager
    def going(self) -> Iterator[None]:
        """Let the process and its children go on, and stop them at the end."""
        for member in _family(self.process):
            member.resume()
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """Take the cores from the process and its children."""
        for member in _family(self.process):
            member.suspend()


async def drive(
    server: Server, texts: list[str], size: int, concurrency: int, seconds: float
) -> tuple[load.Measured, load.Measured]:
    """What clients saw that asked `size` texts a request, and what a probe of health saw."""
    requests = [
        load.post(server.predict, json.dumps({"instances": texts[at : at + size]}).encode())
        for at in range(0, len(texts), size)
    ]
    asking = min(concurrency, WARM_UP_TEXTS // size)
    await load.drive(server.port, requests, asking, WARM_UP)
    stop = asyncio.Event()
    probing = asyncio.create_task(load.probe(server.port, server.health, stop))
    measured = await load.drive(server.port, requests, concurrency, seconds)
    stop.set()
    return measured, await probing


@contextmanager
def _server(name: str, folder: Path, home: Path, threads: int) -> Iterator[Server]:
    [port] = processes.free_ports(1)
    predict, health = f"/v1/models/{peers.MODEL}:predict", "/v2/health/live"
    if name.startswith("finegate"):
        command = ["-m", "serving", "--model-dir", str(folder), "--model-name", peers.MODEL]
        command += ["--http-port", str(port), "--grpc-port", "0", "--threads", str(threads)]
        # Peers queue without a bound, so nothing is shed here either; benchmarks/overload.py sheds.
        command += ["--host", "127.0.0.1", "--max-queue", "100000", "--max-wait", "600"]
    else:
        command = ["-m", "benchmarks.peers", name.split()[0], str(folder), str(port), str(threads)]
    if name == LITSERVE:
        predict, health = "/predict", "/health"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    log = home / f"{name}.log"
    with log.open("wb") as output:
        process = psutil.Popen(
            [sys.executable, *command], stdout=output, stderr=output, env=environment
        )
    try:
        body = {"instances": ["banan"]}
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.post(f"http://127.0.0.1:{port}{predict}", json=body).raise_for_status()
                break
            except httpx.HTTPError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{name}: {log.read_text()[-2000:]}") from error
                time.sleep(0.2)
        server = Server(process, port, predict, health)
        server.stop()
        yield server
    finally:
        if process.is_running():  # else the error above says why it ended
            family = _family(process)
            for member in family:
                member.kill()
            psutil.wait_procs(family)


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [*process.children(recursive=True), process]


def _memory(process: psutil.Process) -> float:
    """Resident memory in MB of a process and its children; shared pages count in each."""
    return sum(member.memory_info().rss for member in _family(process)) / 1e6


if __name__ == "__main__":
    main()
