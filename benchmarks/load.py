"""A closed-loop HTTP client that costs little beside what it measures, and a probe of health."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np


@dataclass
class Measured:
    """What a client saw from its first request to its last answer."""

    requests: int = 0
    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    """Latency of each request."""

    def percentile(self, percent: float) -> float:
        """Latency in ms below which `percent` of the requests stayed."""
        return float(np.percentile(self.milliseconds, percent)) if self.milliseconds else np.inf


class _Connection(asyncio.Protocol):
    """One keep-alive connection: sends a request, waits for its answer, sends the next.

    The parsing is no more than servers of this benchmark need (content-length, no chunks), since
    a complete client takes as long as the server and would measure itself.
    """

    def __init__(self, requests: Iterator[bytes], measured: Measured, end: float):
        self._requests, self._measured, self._end = requests, measured, end
        self._received = bytearray()
        self._awaited = -1
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from it
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._awaited < 0:
            head_end = self._received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = bytes(self._received[:head_end]).lower()
            if not head.startswith(b"http/1.1 200"):
                self._fail(bytes(self._received[:500]))
                return
            length = head.split(b"content-length:")[1].split(b"\r\n")[0]
            self._awaited = head_end + 4 + int(length)
        if len(self._received) < self._awaited:
            return
        self._received.clear()
        self._awaited = -1
        now = time.perf_counter()
        self._measured.requests += 1
        self._measured.milliseconds.append(1000 * (now - self._sent))
        if now >= self._end:
            self._transport.close()
            self.done.set_result(None)
            return
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._fail(f"connection lost: {error}".encode())

    def _fail(self, what: bytes) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(what.decode(errors="replace")))
        self._transport.close()


def post(path: str, body: bytes) -> bytes:
    """An HTTP/1.1 request as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """An HTTP/1.1 request as bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def drive(port: int, requests: Sequence[bytes], concurrency: int, seconds: float) -> Measured:
    """Send `requests` in turn over `concurrency` connections; raises if one is not answered 200.

    Each connection sends one at least, and none after `seconds`. The time is that to the last
    answer, so a server that answers all at once at the end is not paid for what it did not do.
    """
    measured = Measured()
    turn = itertools.cycle(requests)
    begin = time.perf_counter()
    loop = asyncio.get_running_loop()
    connections = [
        await loop.create_connection(
            lambda: _Connection(turn, measured, begin + seconds), "127.0.0.1", port
        )
        for _ in range(concurrency)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in connections))
    measured.seconds = time.perf_counter() - begin
    return measured


async def probe(port: int, path: str, stop: asyncio.Event, every: float = 0.02) -> Measured:
    """GET `path` every 20 ms until `stop`."""
    measured = Measured()
    while not stop.is_set():
        one = Measured()
        now = time.perf_counter()
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda one=one, now=now: _Connection(  # type: ignore[misc]  # defaults bind the loop's
                itertools.repeat(get(path)), one, now
            ),
            "127.0.0.1",
            port,
        )
        await protocol.done
        measured.milliseconds.append(1000 * (time.perf_counter() - now))
        await asyncio.sleep(every)
    return measured
