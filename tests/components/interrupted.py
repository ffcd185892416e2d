"""A step in a process of its own, whose S3 requests are counted, and that dies at one of them."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

_HARNESS = """
import os, sys, threading
from components import storage

requests, operation, number = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))

lock = threading.Lock()

def note(event_name, **_):
    name = event_name.rsplit(".", 1)[1]
    with lock:  # the threads of a transfer ask at once
        with open(requests, "a") as file:
            file.write(name + "\\n")
        if name == operation and open(requests).read().split().count(name) == number:
            os.kill(os.getpid(), 9)

storage.client().meta.events.register("before-send.s3", note)
"""


def run(
    code: str, *arguments: str, home: Path, kill_at: tuple[str, int] | None = None
) -> Counter[str]:
    """Run `code`, with TMPDIR at `home`, until the n-th request of an operation, which is not sent
    any more; returns the requests by operation. Without `kill_at` it must succeed."""
    home.mkdir(exist_ok=True)
    requests = home / "requests"
    requests.write_text("")
    operation, number = kill_at or ("none", 0)
    ended = subprocess.run(
        [sys.executable, "-c", _HARNESS + code, str(requests), operation, str(number), *arguments],
        env={**os.environ, "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    expected = -signal.SIGKILL if kill_at else 0
    assert ended.returncode == expected, ended.stdout + ended.stderr
    return Counter(requests.read_text().split())
