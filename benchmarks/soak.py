"""An hour's worth of requests as fast as possible: memory must not grow.

    python -m benchmarks.soak [--requests N] [--json FILE]

An hour at 10 requests a second is 36,000. They are of every kind: one text, many, with pairs,
V2 in JSON, with binary tensors and over gRPC, too long, compressed, malformed, and from clients
that leave before the answer; the release is loaded anew 12 times on the way. Resident memory is
read every 200 requests; after the first third, the warm-up, a line is fitted to it, whose rise is
the growth.
"""

import argparse
import asyncio
import gzip
import json
import signal
import struct
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from benchmarks.endpoint import (
    NAME,
    WORDS,
    Endpoint,
    bodies,
    grpc_request,
    save_model,
    serving,
)
from benchmarks.open_loop import Connection
from benchmarks.results import at_least, at_most, finish, show

HOUR = 36_000
RELOADS = 12
CLIENTS = 8
EVERY = 200
GROWTH_MB = 5.0
"""Bound on the fitted rise; one leaked text a request would be more."""

INFER = f"/v2/models/{NAME}/infer"
Question = tuple[str, bytes, str]
"""Path, body, headers."""


def main() -> None:
    """Send them all, fit the line, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=HOUR)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        save_model(model, layers=1, width=64)  # what is tried is around it
        with serving(model, "--threads", "1", "--max-queue", "100000", rpc=True) as endpoint:
            began = time.perf_counter()
            statuses, sizes = asyncio.run(_soaked(endpoint, given.requests))
            seconds = time.perf_counter() - began
            reloads = endpoint.metric("finegate_reloads_total")
            failed = statuses[0] + statuses[-1] + sum(n for s, n in statuses.items() if s >= 500)
    settled = np.array(sizes[len(sizes) // 3 :]) / 2**20
    slope, _ = np.polyfit(np.arange(len(settled)), settled, 1)
    row: dict[str, Any] = {
        "requests": given.requests,
        "seconds": seconds,
        "reloads": reloads,
        "first, MB": sizes[0] / 2**20,
        "after a third, MB": settled[0],
        "last, MB": settled[-1],
        "fitted growth, MB": slope * len(settled),
        **{f"status {status}": count for status, count in sorted(statuses.items())},
    }
    show([row])
    finish(
        [row],
        [
            at_most("fitted growth of memory, MB", float(slope * len(settled)), GROWTH_MB),
            at_most("failed requests", failed, 0),
            at_least("reloads", reloads, min(RELOADS, given.requests // EVERY)),
        ],
        given.json,
    )


async def _soaked(endpoint: Endpoint, count: int) -> tuple[Counter[int], list[int]]:
    statuses: Counter[int] = Counter()
    sizes = [endpoint.rss()]
    questions = _questions(endpoint.path)
    sent = 0
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{endpoint.grpc_port}")
    stub = GRPCInferenceServiceStub(channel)

    async def client() -> None:
        nonlocal sent
        connections: dict[str, Connection] = {}
        while sent < count:
            number, sent = sent, sent + 1
            path, body, headers = questions[number % len(questions)]
            connection = connections.setdefault(path, Connection(endpoint.port, path))
            if number % 50 == 49:
                await _leave(endpoint.port, path, body)
            elif number % 10 == 5:
                await stub.ModelInfer(grpc_request(f"{WORDS[number % 1000]} {number}"))
                statuses[200] += 1
            else:
                statuses[await connection.post(body, headers)] += 1
            if number % EVERY == 0:
                sizes.append(endpoint.rss())
            if number % max(EVERY, count // RELOADS) == EVERY // 2:
                endpoint.process.send_signal(signal.SIGHUP)
        for connection in connections.values():
            connection.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    await channel.close()
    return statuses, sizes


async def _leave(port: int, path: str, body: bytes) -> None:
    """Ask and do not wait for the answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode())
    writer.write(body)
    await writer.drain()
    writer.close()


def _questions(predict: str) -> list[Question]:
    """997 requests of every kind, so that their order changes against everything else's."""
    kinds = [_kinds(predict, body, number) for number, body in enumerate(bodies(997, 2))]
    return [each[number % len(each)] for number, each in enumerate(kinds)]


def _kinds(predict: str, body: bytes, number: int) -> list[Question]:
    texts = json.loads(body)["instances"]
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES"}
    packed = b"".join(struct.pack("<I", len(text)) + text.encode() for text in texts)
    sized = {"binary_data_size": len(packed)}
    head = json.dumps({"inputs": [{**tensor, "parameters": sized}]}).encode()
    pairs = [{"text": texts[0], "text_pair": texts[1]}]
    long = " ".join(WORDS[number % 1000 :][:600])
    return [
        (predict, body, ""),
        (predict, json.dumps({"instances": texts[:1], "parameters": {"top_k": 1}}).encode(), ""),
        (predict, json.dumps({"instances": texts * 5}).encode(), ""),
        (predict, json.dumps({"instances": pairs}).encode(), ""),
        (predict, json.dumps({"instances": [long]}).encode(), ""),
        (predict, gzip.compress(body), "content-encoding: gzip\r\n"),
        (predict, body[: number % len(body)], ""),
        (predict, json.dumps({"instances": [number]}).encode(), ""),
        (INFER, json.dumps({"inputs": [{**tensor, "data": texts}]}).encode(), ""),
        (INFER, head + packed, f"inference-header-content-length: {len(head)}\r\n"),
        (INFER, json.dumps({"inputs": [{**tensor, "data": [number]}]}).encode(), ""),
    ]


if __name__ == "__main__":
    main()
