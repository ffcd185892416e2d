"""Ten times the load that the server can take, for a minute: what is accepted stays fast.

    python -m benchmarks.overload [--seconds N] [--texts N] [--max-wait S] [--json FILE]

The model has MiniLM's shape and is served in fp32 by OpenVINO, on one thread, so that the server
shares two cores with this client. First, unloaded: one request after the other, whose p99 is the
measure of all that follows, and the capacity with as many clients as keep the server busy. Then a
fresh server with `--max-wait`, by default as long as an unloaded request takes, is sent ten times
that capacity by the clock (Poisson), and asked for its health ten times a second. Latencies count
from when a request was due.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.endpoint import Endpoint, bodies, save_model, serving
from benchmarks.open_loop import Outcome, closed_loop, open_loop, p
from benchmarks.results import at_least, at_most, finish, show

TIMES = 10
OPTIONS = ("--threads", "1", "--max-queue", "100000")


def main() -> None:
    """Measure unloaded, capacity, overload and after it; print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--texts", type=int, default=8, help="texts a request")
    parser.add_argument("--max-wait", type=float, help="seconds; by default as an unloaded request")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    asked = list(bodies(500, given.texts))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        save_model(model)
        with serving(model, *OPTIONS) as endpoint:
            asyncio.run(_closed(endpoint, asked, 1, 3))  # warm-up
            unloaded = asyncio.run(_closed(endpoint, asked, 1, 10))
            busy = asyncio.run(_closed(endpoint, asked, 8, 10))
        capacity = len(busy) / 10
        wait = given.max_wait or p(unloaded, 0.5)
        with serving(model, *OPTIONS, "--max-wait", f"{wait:.4f}") as endpoint:
            asyncio.run(_closed(endpoint, asked, 1, 3))
            rate = TIMES * capacity
            overload, health, rss = asyncio.run(_overload(endpoint, asked, rate, given.seconds))
            after = asyncio.run(_closed(endpoint, asked, 1, 5))
    accepted = [each for each in overload if each.status == 200]
    shed = [each for each in overload if each.status == 503]
    rows = [
        _row("unloaded", unloaded, 10),
        _row("8 clients", busy, 10),
        _row(f"{TIMES}x, accepted", accepted, given.seconds),
        _row(f"{TIMES}x, shed", shed, given.seconds),
        _row(f"{TIMES}x, health", health, given.seconds),
        _row("unloaded, after", after, 5),
    ]
    half = rss[len(rss) // 2 :]
    show(rows)
    finish(
        rows,
        [
            at_least("offered / capacity", len(overload) / given.seconds / capacity, 9),
            at_most("accepted p99 / unloaded p99", p(accepted, 0.99) / p(unloaded, 0.99), 3),
            at_most("shed p99 / unloaded p99", p(shed, 0.99) / p(unloaded, 0.99), 1),
            at_least("accepted rate / capacity", len(accepted) / given.seconds / capacity, 0.5),
            at_most("neither accepted nor shed", len(overload) - len(accepted) - len(shed), 0),
            at_most("health p99, ms", 1000 * p(health, 0.99), 50),
            at_most("health, not 200", sum(each.status != 200 for each in health), 0),
            at_most("memory growth in the second half, MB", (half[-1] - half[0]) / 2**20, 10),
            at_most("p99 after / before", p(after, 0.99) / p(unloaded, 0.99), 1.5),
        ],
        given.json,
    )


def _closed(endpoint: Endpoint, asked: list[bytes], clients: int, seconds: float) -> Any:
    return closed_loop(endpoint.port, endpoint.path, asked, clients, seconds)


async def _overload(
    endpoint: Endpoint, asked: list[bytes], rate: float, seconds: float
) -> tuple[list[Outcome], list[Outcome], list[int]]:
    health: list[Outcome] = []
    rss: list[int] = []
    over = asyncio.Event()

    async def watch() -> None:
        url = f"http://127.0.0.1:{endpoint.port}/v2/models/bench/ready"
        async with httpx.AsyncClient(timeout=60) as client:
            while not over.is_set():
                began = time.perf_counter()
                answer = await client.get(url)
                health.append(Outcome(answer.status_code, time.perf_counter() - began))
                rss.append(endpoint.rss())
                await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    outcomes = await open_loop(endpoint.port, endpoint.path, asked, rate, seconds)
    over.set()
    await watching
    return outcomes, health, rss


def _row(name: str, outcomes: list[Outcome], seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {"load": name, "requests/s": len(outcomes) / seconds}
    for quantile in (0.5, 0.99, 1):
        row[f"p{100 * quantile:.0f}, ms"] = 1000 * p(outcomes, quantile)
    return row


if __name__ == "__main__":
    main()
