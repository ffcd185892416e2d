"""SIGTERM under load, again and again: no accepted request may be lost.

    python -m benchmarks.drain [--times N] [--json FILE]

Each time a server is started, REST clients (kept connections and new ones), gRPC clients and one
request of a thousand texts keep it busy, and SIGTERM comes at a random moment. A request is lost
when its connection breaks after it was sent, or when the answer is anything but 200. What cannot
connect any more was not accepted and can be sent elsewhere; so can what the server says over gRPC
that it did not take.
"""

import argparse
import asyncio
import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

import grpc
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from benchmarks.endpoint import Endpoint, bodies, grpc_request, save_model, serving
from benchmarks.open_loop import REFUSED, Connection
from benchmarks.results import at_least, at_most, finish, show

Outcomes = Counter[str]

NOT_TAKEN = ("did not take the call", "failed to connect")
"""What gRPC says of a call that no server has: ours, and gRPC itself."""


def main() -> None:
    """Drain as often as asked and print what became of the requests."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    chance = random.Random(0)
    rows, total = [], Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        save_model(model, layers=2, width=128)
        for number in range(given.times):
            after = chance.uniform(0.2, 1.5)
            with serving(model, "--threads", "1", "--max-queue", "100000", rpc=True) as endpoint:
                outcomes = asyncio.run(_drained(endpoint, after))
                code = endpoint.process.wait(40)
            outcomes["clean exit" if code == 0 else f"exit {code}"] += 1
            rows.append({"drain": number, "SIGTERM after, s": round(after, 2), **outcomes})
            total += outcomes
    answered = total["REST 200"] + total["gRPC OK"]
    good = ("REST 200", "REST refused", "gRPC OK", "gRPC refused", "clean exit")
    lost = sum(count for name, count in total.items() if name not in good)
    names = sorted(total)
    show([{**row, **{name: row.get(name, 0) for name in names}} for row in rows])
    finish(
        rows,
        [
            at_most("requests lost", lost, 0),
            at_least("clean exits", total["clean exit"], given.times),
            at_least("requests answered", answered, 100 * given.times),
        ],
        given.json,
    )


async def _drained(endpoint: Endpoint, after: float) -> Outcomes:
    outcomes: Outcomes = Counter()
    clients = [
        *(_rest(endpoint, outcomes, keep=True) for _ in range(6)),
        *(_rest(endpoint, outcomes, keep=False) for _ in range(2)),
        *(_rpc(endpoint, outcomes) for _ in range(3)),
        _bulk(endpoint, outcomes),
    ]

    async def terminate() -> None:
        await asyncio.sleep(after)
        endpoint.process.send_signal(signal.SIGTERM)

    await asyncio.wait_for(asyncio.gather(*clients, terminate()), 60)
    return outcomes


async def _rest(endpoint: Endpoint, outcomes: Outcomes, *, keep: bool) -> None:
    connection = Connection(endpoint.port, endpoint.path)
    for body in bodies(100_000, 1):
        status = await connection.post(body)
        outcomes["REST refused" if status == REFUSED else f"REST {status}"] += 1
        if status == REFUSED:
            return
        if not keep:
            connection.close()


async def _bulk(endpoint: Endpoint, outcomes: Outcomes) -> None:
    [body] = bodies(1, 1000)
    connection = Connection(endpoint.port, endpoint.path)
    while (status := await connection.post(body)) != REFUSED:
        outcomes[f"REST {status}"] += 1


async def _rpc(endpoint: Endpoint, outcomes: Outcomes) -> None:
    asked = grpc_request("w1 w2 w3")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{endpoint.grpc_port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        while True:
            try:
                await stub.ModelInfer(asked)
                outcomes["gRPC OK"] += 1
            except grpc.aio.AioRpcError as error:
                says = error.details() or ""
                if any(each in says for each in NOT_TAKEN):
                    outcomes["gRPC refused"] += 1
                    return
                outcomes[f"gRPC {error.code().name}: {says[:60]}"] += 1
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    return


if __name__ == "__main__":
    main()
