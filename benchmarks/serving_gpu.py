"""The predictor on a GPU against a plain KServe model: `python -m benchmarks.serving_gpu`.

Models, texts and client are those of benchmarks.serving. One server runs at a time, the peer in the
same precision. `GPU alone` has neither server nor tokenizing: our passes, and batches of 32,768
tokens sorted by length, the most that the GPU does with this model. `no server` tokenizes too.
"""

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import IO

import httpx
import numpy as np
import psutil
import torch
import uvloop

from benchmarks import gpu_alone, models, peers
from benchmarks.results import Target, at_least, at_most, finish, show
from benchmarks.serving import Server, drive
from benchmarks.serving_targets import Row, row_of
from components.processes import free_ports
from serving.cores import available_cores
from serving.settings import SERVING

CONCURRENCIES = (1, 8, 32, 128)
TEXTS_A_REQUEST = (1, 32)
PRECISIONS = {"fp32": "pytorch-cuda", "bf16": "pytorch-cuda-bf16"}
OURS, PEER = "finegate", "kserve peer"
GPU_ALONE = {
    "GPU alone, our passes": gpu_alone.in_our_passes,
    "GPU alone, sorted": gpu_alone.in_sorted_batches,
}
PREDICT, HEALTH = f"/v1/models/{peers.MODEL}:predict", "/v2/health/live"


def main() -> None:
    """Measure, print the table and the targets, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--shapes", nargs="+", choices=list(models.SHAPES), default=list(models.SHAPES)
    )
    parser.add_argument("--rounds", type=int, default=2, help="of each row the fastest is told")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of a row")
    parser.add_argument("--json", type=Path, help="file for rows and targets")
    given = parser.parse_args()
    sys.stdout.write(f"{torch.cuda.get_device_name()}, {available_cores()} cores\n")
    rows: list[Row] = []
    targets: list[Target] = []
    for shape in given.shapes:
        with tempfile.TemporaryDirectory() as home:
            found = _measure(shape, Path(home), given.rounds, given.seconds)
        rows += found
        targets += _targets(shape, found)
    show(rows)
    finish(rows, targets, given.json)


def _measure(shape: str, home: Path, rounds: int, seconds: float) -> list[Row]:
    plain = home / "plain"
    models.write_model(shape, plain)
    texts = models.texts(1024)
    rows = []
    for precision, backend in PRECISIONS.items():
        ours, theirs = home / backend, home / f"peer-{precision}"
        shutil.copytree(plain, ours)
        (ours / SERVING).write_text(json.dumps({"backend": backend}))
        _save(plain, theirs, precision)
        alone = _alone(ours, texts, seconds).items()
        rows += [row_of(shape, f"{name}, {precision}", 0, 0, speed) for name, speed in alone]
        show(rows[-len(alone) :], head=False)
        port = free_ports(1)[0]
        options = ["--http-port", str(port), "--grpc-port", "0", "--host", "127.0.0.1"]
        # The peer queues without a bound, so nothing is shed here either.
        options += ["--max-queue", "100000", "--max-wait", "600"]
        served = ["serving", "--model-dir", str(ours), "--model-name", peers.MODEL, *options]
        rows += _served(shape, f"{OURS}, {precision}", served, port, texts, rounds, seconds)
        port = free_ports(1)[0]
        served = ["benchmarks.gpu_peer", str(theirs), str(port)]
        rows += _served(shape, f"{PEER}, {precision}", served, port, texts, rounds, seconds)
    return rows


def _save(plain: Path, folder: Path, precision: str) -> None:
    from transformers import AutoModelForSequenceClassification

    shutil.copytree(plain, folder)
    if precision == "bf16":
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16)
        model.save_pretrained(folder)


def _alone(folder: Path, texts: list[str], seconds: float) -> dict[str, float]:
    """Texts a second without a server; in a process of its own, which frees the GPU again."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = {
            name: pool.submit(loop, folder, texts, seconds).result()
            for name, loop in GPU_ALONE.items()
        }
        most = pool.submit(peers.no_server, folder, texts, available_cores(), seconds)
        return {**found, "no server": most.result()}


def _served(
    shape: str,
    name: str,
    module: list[str],
    port: int,
    texts: list[str],
    rounds: int,
    seconds: float,
) -> list[Row]:
    """The rows of one server: each cell's fastest round, with its latency and all health probes."""
    best: dict[tuple[int, int], Row] = {}
    health: dict[tuple[int, int], list[float]] = {}
    with _server(module, port) as server:
        for size, concurrency in itertools.product(TEXTS_A_REQUEST, CONCURRENCIES):
            for _ in range(rounds):
                measured, probes = uvloop.run(drive(server, texts, size, concurrency, seconds))
                health.setdefault((size, concurrency), []).extend(probes.milliseconds)
                speed = measured.requests * size / measured.seconds
                row = row_of(shape, name, concurrency, size, speed)
                row["p50_ms"], row["p99_ms"] = map(measured.percentile, (50, 99))
                row["rss_mb"] = server.process.memory_info().rss / 1e6
                kept = best.setdefault((size, concurrency), row)
                if speed > kept["texts_per_second"]:
                    best[size, concurrency] = row
            row = best[size, concurrency]
            row["health_p99_ms"] = float(np.percentile(health[size, concurrency], 99))
            show([row], head=False)
            sys.stdout.flush()
    return list(best.values())


@contextmanager
def _server(module: list[str], port: int) -> Iterator[Server]:
    """A server process, once it answers."""
    with tempfile.TemporaryFile("w+") as log:
        process = psutil.Popen([sys.executable, "-m", *module], stdout=log, stderr=log)
        try:
            _wait(process, port, log)
            yield Server(process, port, PREDICT, HEALTH)
        finally:
            process.kill()
            process.wait()


def _wait(process: psutil.Popen, port: int, log: IO[str]) -> None:
    deadline = time.monotonic() + 120
    body = {"instances": ["banan"]}
    while True:
        try:
            httpx.post(f"http://127.0.0.1:{port}{PREDICT}", json=body).raise_for_status()
            return
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                raise RuntimeError(f"{process.args}: {log.read()[-2000:]}") from error
            time.sleep(0.2)


def _targets(shape: str, rows: list[Row]) -> list[Target]:
    found = {(row["server"], row["concurrency"], row["texts_a_request"]): row for row in rows}
    targets = []
    for precision, size in itertools.product(PRECISIONS, TEXTS_A_REQUEST):
        ours, peer = (
            {c: found[f"{name}, {precision}", c, size] for c in CONCURRENCIES}
            for name in (OURS, PEER)
        )
        where = f"{shape}, {precision}, {size} texts a request"
        targets += [
            at_least(
                f"{where}, concurrency {c}: texts a second over the peer's",
                ours[c]["texts_per_second"] / peer[c]["texts_per_second"],
                1 if c == 1 else 2.5,
            )
            for c in CONCURRENCIES
        ]
    health = max(row["health_p99_ms"] for row in rows if row["server"].startswith(OURS))
    return [*targets, at_most(f"{shape}: health p99 in ms, worst row", health, 50)]


if __name__ == "__main__":
    main()
