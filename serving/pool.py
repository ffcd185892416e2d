"""Requests that wait, and their encoded texts in the order in which they are due."""

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from serving.classifier import Floats
from serving.encoding import Encoded


@dataclass(frozen=True)
class Classified:
    """The answer to one request: arrays of shape [texts, outputs].

    Those of a text that was read in windows are the means over its windows.
    """

    scores: Floats
    logits: Floats
    truncated: list[bool]


@dataclass(eq=False)
class Job:
    """One request, and what of it is done."""

    texts: Sequence[str]
    pairs: Sequence[str] | None
    scores: Floats
    logits: Floats
    future: Future[Classified] = field(default_factory=Future)
    truncated: list[bool] = field(default_factory=list)
    submitted: float = field(default_factory=time.perf_counter)
    turn: int = 0
    """The turn at which its first text is due; the text at place p is due p turns later."""
    windows: list[int] = field(default_factory=list)
    """Windows of each encoded text that are not classified yet."""
    unanswered: int = 0

    @classmethod
    def of(cls, texts: Sequence[str], pairs: Sequence[str] | None, outputs: int) -> "Job":
        """A request for `texts`, of which nothing is done."""
        shape = len(texts), outputs
        scores, logits = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        return cls(texts, pairs, scores, logits, unanswered=len(texts))

    @property
    def encoded(self) -> int:
        """How many of its texts are encoded."""
        return len(self.windows)

    @property
    def unread(self) -> bool:
        """Some of its texts are not encoded yet."""
        return self.encoded < len(self.texts)


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One window of a text; its `weight` is its part in the mean over the text's windows."""

    job: Job
    place: int
    encoded: Encoded
    weight: float


class Pool:
    """Rows that wait for a pass, by padded length, in turns.

    Turns are those of start-time fair queuing, so a request of thousands does not hold up one of a
    few. Not for several threads at once.
    """

    def __init__(self, padded: Callable[[Encoded], int], batch_tokens: int) -> None:
        """`padded` tells a row's tokens after padding; a batch has at most `batch_tokens`."""
        self._padded = padded
        self._batch_tokens = batch_tokens
        self._rows: dict[int, list[tuple[int, int, Row]]] = {}
        """By padded length a heap of (turn, arrival, row)."""
        self._arrival = itertools.count()
        self.turn = 0
        """The turn of the row that was taken last; requests that arrive begin there."""

    def __bool__(self) -> bool:
        return any(self._rows.values())

    def add(self, job: Job, windows: Sequence[Encoded]) -> None:
        """Add the job's next text, as its windows."""
        place = job.encoded
        job.windows.append(len(windows))
        job.truncated.append(windows[0].truncated)
        for window in windows:
            row = Row(job, place, window, 1 / len(windows))
            rows = self._rows.setdefault(self._padded(window), [])
            heapq.heappush(rows, (job.turn + place, next(self._arrival), row))

    def take(self, sharers: int = 1) -> list[Row]:
        """The next batch: rows of one padded length, that of the row which is due first.

        `sharers` above 1 says that the rows are those of one request and so many threads take
        them. Then the longest come first, and no batch is so large that nothing is left for the
        others: they finish together.
        """
        for rows in self._rows.values():
            while rows and not rows[0][2].job.unanswered:  # dropped
                heapq.heappop(rows)
        self._rows = {length: rows for length, rows in self._rows.items() if rows}
        if not self._rows:
            return []
        length, rows = min(self._rows.items(), key=lambda item: item[1][0])
        size = max(1, self._batch_tokens // length)
        if sharers > 1:
            length, rows = max(self._rows.items())
            size = max(1, self._batch_tokens // length)
            size = min(size, -(-sum(map(len, self._rows.values())) // sharers))
        self.turn = max(self.turn, rows[0][0])
        batch = [heapq.heappop(rows)[2] for _ in range(min(size, len(rows)))]
        return [row for row in batch if row.job.unanswered]
