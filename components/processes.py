"""Background processes of one machine: started detached, remembered in a file, found again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from serving.errors import InputError


def start(command: list[str], record: Path, facts: dict[str, Any], env: dict[str, str]) -> int:
    """Start `command` in its own session, its output in `<record>.log`; returns the pid.

    `record` (mode 0600, it may hold credentials) keeps `facts` with the pid and its start time,
    by which a later process of this machine finds it again.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    with log_of(record).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **env},
        )
    identity = {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}
    write_private(record, {**facts, **identity})
    return process.pid


def write_private(path: Path, document: dict[str, Any]) -> None:
    """Write JSON for the owner's eyes, whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
    partial.replace(path)


def read(record: Path) -> dict[str, Any] | None:
    """The facts of a process that was started here, running or not."""
    if not record.is_file():
        return None
    facts: dict[str, Any] = json.loads(record.read_text())
    return facts


def running(record: Path) -> psutil.Process | None:
    """The recorded process if it still runs; a recycled pid is recognized by its start time."""
    facts = read(record)
    if facts is None or "pid" not in facts:
        return None
    try:
        process = psutil.Process(facts["pid"])
        same = abs(process.create_time() - facts["started"]) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def stop(record: Path, *, seconds: float = 30) -> bool:
    """End the recorded process: SIGTERM, and SIGKILL after `seconds`. True when one ran."""
    process = running(record)
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(5)
    return True


@contextlib.contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Let SIGHUP and SIGTERM raise SystemExit in the block, so that its `finally` is reached.

    A process in a session of its own outlives the terminal that is closed. For the main thread.
    """

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def wait_until(ready: Callable[[], bool], record: Path, *, what: str, seconds: float) -> None:
    """Poll `ready` until it is true; raises InputError with the log's end when it will not be."""
    deadline = time.monotonic() + seconds
    while not ready():
        if running(record) is None:
            raise InputError(f"{what} ended at its start. Its log says: {log_tail(record)}")
        if time.monotonic() > deadline:
            raise InputError(
                f"{what} was not ready within {seconds:.0f} s. Its log, {log_of(record)}, ends "
                f"with: {log_tail(record)}"
            )
        time.sleep(0.05)


def log_of(record: Path) -> Path:
    """Where the process's output goes."""
    return record.with_suffix(".log")


def log_tail(record: Path, characters: int = 600) -> str:
    """The end of the process's output."""
    log = log_of(record)
    text = log.read_text(errors="replace").strip() if log.is_file() else ""
    return text[-characters:] or "nothing"


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nothing listens now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def port_is_free(port: int) -> bool:
    """True when nothing listens on 127.0.0.1:`port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
