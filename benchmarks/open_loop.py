"""An HTTP client that takes any answer: requests one after the other, or by the clock."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

BROKEN, REFUSED = 0, -1
"""Instead of a status: the connection broke after the request began, or did not come about."""


@dataclass(frozen=True)
class Outcome:
    """How one request ended."""

    status: int
    seconds: float
    """From when it was due, so that a late client is not mistaken for a fast server."""


def p(outcomes: Sequence[Outcome], quantile: float) -> float:
    """A quantile of the seconds; infinity without outcomes."""
    return float(np.quantile([each.seconds for each in outcomes], quantile)) if outcomes else np.inf


class Connection:
    """One connection, kept alive and opened anew when it was closed."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes, headers: str = "") -> int:
        """Status of the answer, BROKEN or REFUSED."""
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                return REFUSED
        reader, writer = self._streams
        head = f"POST {self._path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(body)}"
        try:
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = answer.split(b"content-length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return BROKEN
        if b"connection: close" in answer:
            self.close()
        return int(answer[9:12])

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def closed_loop(
    port: int, path: str, bodies: Sequence[bytes], concurrency: int, seconds: float
) -> list[Outcome]:
    """`concurrency` clients, each sending its next request when the last was answered."""
    outcomes: list[Outcome] = []
    given, end = cycle(bodies), time.perf_counter() + seconds

    async def client() -> None:
        connection = Connection(port, path)
        while (due := time.perf_counter()) < end:
            status = await connection.post(next(given))
            outcomes.append(Outcome(status, time.perf_counter() - due))
        connection.close()

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return outcomes


async def open_loop(
    port: int, path: str, bodies: Sequence[bytes], rate: float, seconds: float
) -> list[Outcome]:
    """`rate` requests a second at random times (Poisson), however many are unanswered."""
    outcomes: list[Outcome] = []
    free: list[Connection] = []
    chance = np.random.default_rng(0)
    given, due = cycle(bodies), time.perf_counter()
    end = due + seconds

    async def ask(due: float) -> None:
        connection = free.pop() if free else Connection(port, path)
        status = await connection.post(next(given))
        outcomes.append(Outcome(status, time.perf_counter() - due))
        free.append(connection)

    async with asyncio.TaskGroup() as asking:
        while due < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            while due <= time.perf_counter() and due < end:
                asking.create_task(ask(due))
                due += chance.exponential(1 / rate)
    for connection in free:
        connection.close()
    return outcomes
