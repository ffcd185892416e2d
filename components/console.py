"""What a step says while it works: plain lines for a log, which a terminal may draw as bars."""

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from serving.errors import InputError

ERROR_MARK = "error: "
TRACEBACK_MARK = "traceback | "
SECONDS_BETWEEN_LINES = 5.0


def say(step: str, message: str) -> None:
    """Print one line, `step: message`."""
    sys.stdout.write(f"{step}: {message}\n")
    sys.stdout.flush()


class Progress:
    """Counts the work of one long stage; prints `step: stage 120/286 (42 %), note` now and then."""

    def __init__(self, step: str, stage: str, total: int) -> None:
        self._step, self._stage, self._total = step, stage, total
        self._done = 0
        self._printed = 0.0

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report that `count` more of the total are done."""
        self.reach(self._done + count, note)

    def reach(self, done: int, note: str = "") -> None:
        """Report that `done` of the total are done."""
        self._done = done
        now = time.monotonic()
        if now - self._printed < SECONDS_BETWEEN_LINES and done < self._total:
            return
        self._printed = now
        percent = 100 * done // max(self._total, 1)
        tail = f", {note}" if note else ""
        say(self._step, f"{self._stage} {done}/{self._total} ({percent} %){tail}")


_BEGAN: ContextVar[float | None] = ContextVar("began", default=None)


def step_seconds() -> float | None:
    """Seconds since the step began that runs here, or None outside of one."""
    began = _BEGAN.get()
    return None if began is None else round(time.monotonic() - began, 2)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Run a step's work: bad input ends the process with one paragraph and status 1.

    The traceback goes before the paragraph, each line marked, so that a pod's log holds it and
    the command line can leave it out. Other exceptions are defects and pass through.
    """
    token = _BEGAN.set(time.monotonic())
    try:
        yield
    except InputError as error:
        for line in traceback.format_exc().splitlines():
            sys.stdout.write(f"{TRACEBACK_MARK}{line}\n")
        paragraph = " ".join(str(error).split())
        sys.stdout.write(f"{ERROR_MARK}{name}: {paragraph}\n")
        sys.stdout.flush()
        raise SystemExit(1) from error
    finally:
        _BEGAN.reset(token)
