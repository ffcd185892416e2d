"""The predictor against its peers: `python -m benchmarks.serving [--json FILE]`.

Starts each server itself, one at a time, on the same texts, threads and model, and drives it from
this process over the same cores, as a sidecar would.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvloop

from benchmarks import load, models, peers
from benchmarks.results import Target, at_least, at_most, finish, show
from components import processes
from serving.cores import available_cores

WARM_UP = 1.0
CONCURRENCIES = (1, 8, 32, 128)
TEXTS_A_REQUEST = (1, 32)
EXACT, REDUCED = "finegate openvino", "finegate openvino-int8"
PEER, LITSERVE = "kserve peer", "litserve"

Row = dict[str, Any]


def main() -> None:
    """Measure, print the table and the targets, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shapes", nargs="+", choices=list(models.SHAPES), default=list(models.SHAPES)
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="measured time of a row")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of the models")
    parser.add_argument("--json", type=Path, help="file for rows and targets")
    given = parser.parse_args()
    rows: list[Row] = []
    targets: list[Target] = []
    for shape in given.shapes:
        with tempfile.TemporaryDirectory() as home:
            found, ceilings = _measure(shape, Path(home), given.threads, given.seconds)
        rows += found
        targets += _targets(shape, found, ceilings)
    show(rows)
    finish(rows, targets, given.json)


def _measure(
    shape: str, home: Path, threads: int, seconds: float
) -> tuple[list[Row], dict[str, float]]:
    folders = models.write_models(shape, home)
    texts = models.texts(1024)
    ceilings = {}
    for backend in models.BACKENDS:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            ceilings[backend] = pool.submit(
                peers.ceiling, folders[backend], texts, threads, 3 * seconds
            ).result()
    rows: list[Row] = [
        _row(shape, f"ceiling {backend}", 0, 0, speed) for backend, speed in ceilings.items()
    ]
    show(rows)
    servers = {f"finegate {name}": folders[name] for name in models.BACKENDS}
    servers |= {PEER: folders["pytorch"], LITSERVE: folders["openvino"]}
    for name, folder in servers.items():
        with _server(name, folder, home, threads) as (port, process, path, health):
            for size, concurrency in itertools.product(TEXTS_A_REQUEST, CONCURRENCIES):
                requests = [
                    load.post(path, json.dumps({"instances": texts[at : at + size]}).encode())
                    for at in range(0, len(texts), size)
                ]
                measured, health_ms = uvloop.run(
                    _drive(port, requests, concurrency, seconds, health)
                )
                rows.append(
                    _row(
                        shape,
                        name,
                        concurrency,
                        size,
                        measured.requests * size / measured.seconds,
                        measured.percentile(50),
                        measured.percentile(99),
                        health_ms,
                        _memory(process),
                    )
                )
                show(rows[-1:], head=False)
    return rows, ceilings


async def _drive(
    port: int, requests: list[bytes], concurrency: int, seconds: float, health: str
) -> tuple[load.Measured, float]:
    await load.drive(port, requests, min(concurrency, 8), WARM_UP)
    stop = asyncio.Event()
    probing = asyncio.create_task(load.probe(port, health, stop))
    measured = await load.drive(port, requests, concurrency, seconds)
    stop.set()
    return measured, (await probing).percentile(99)


@contextmanager
def _server(
    name: str, folder: Path, home: Path, threads: int
) -> Iterator[tuple[int, psutil.Process, str, str]]:
    """A server process: its port, process, predict path and health path."""
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
    log = home / "server.log"
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
        yield port, process, predict, health
    finally:
        if process.is_running():  # else the error above says why it ended
            family = [*process.children(recursive=True), process]
            for member in family:
                member.kill()
            psutil.wait_procs(family)


def _memory(process: psutil.Process) -> float:
    """Resident memory in MB of a process and its children; shared pages count in each."""
    family = [process, *process.children(recursive=True)]
    return sum(member.memory_info().rss for member in family) / 1e6


def _row(shape: str, server: str, concurrency: int, size: int, speed: float, *rest: float) -> Row:
    keys = ("p50_ms", "p99_ms", "health_p99_ms", "rss_mb")
    figures = dict(zip(keys, rest, strict=True)) if rest else dict.fromkeys(keys, "")
    return {
        "model": shape,
        "server": server,
        "concurrency": concurrency,
        "texts_a_request": size,
        "texts_per_second": speed,
        **figures,
    }


def _targets(shape: str, rows: list[Row], ceilings: dict[str, float]) -> list[Target]:
    speed = {
        (row["server"], row["concurrency"], row["texts_a_request"]): row["texts_per_second"]
        for row in rows
    }
    p50 = {(r["server"], r["concurrency"], r["texts_a_request"]): r["p50_ms"] for r in rows}
    targets = []
    for size, concurrency in itertools.product(TEXTS_A_REQUEST, (8, 32)):
        at = (concurrency, size)
        where = f"{shape}, {size} texts a request, concurrency {concurrency}"
        peer = speed[PEER, *at]
        targets += [
            at_least(f"{where}: exact / peer", speed[EXACT, *at] / peer, 2.5),
            at_least(f"{where}: reduced / peer", speed[REDUCED, *at] / peer, 6),
            at_least(f"{where}: exact / ceiling", speed[EXACT, *at] / ceilings["openvino"], 0.85),
            at_least(
                f"{where}: reduced / ceiling", speed[REDUCED, *at] / ceilings["openvino-int8"], 0.85
            ),
        ]
    for size in TEXTS_A_REQUEST:
        targets.append(
            at_most(
                f"{shape}, {size} texts a request, concurrency 1: p50 exact / peer",
                p50[EXACT, 1, size] / p50[PEER, 1, size],
                0.5,
            )
        )
    worst = min(
        speed[EXACT, c, size] / speed[LITSERVE, c, size]
        for c, size in itertools.product(CONCURRENCIES, TEXTS_A_REQUEST)
    )
    targets.append(at_least(f"{shape}: exact / LitServe, worst row", worst, 1))
    health = max(r["health_p99_ms"] for r in rows if r["server"].startswith("finegate"))
    targets.append(at_most(f"{shape}: health p99 in ms, worst row", health, 50))
    return targets


if __name__ == "__main__":
    main()
