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
from serving.passes import Filling, Passes


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
    """The turn at which its first text is due; each of the others is due a turn later."""
    windows: list[int] = field(default_factory=list)
    """Windows of each encoded text that are not classified yet."""
    unanswered: int = 0
    characters: int = 0

    @classmethod
    def of(cls, texts: Sequence[str], pairs: Sequence[str] | None, outputs: int) -> "Job":
        """A request for `texts`, of which nothing is done."""
        shape = len(texts), outputs
        scores, logits = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        job = cls(texts, pairs, scores, logits, unanswered=len(texts))
        job.characters = sum(map(job.length, range(len(texts))))
        return job

    def length(self, place: int) -> int:
        """Characters of the text at `place`, with its pair's."""
        return len(self.texts[place]) + (len(self.pairs[place]) if self.pairs else 0)

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
    padded: int
    """Its tokens after padding."""
    weight: float


class Pool:
    """Rows that wait for a pass, in turns.

    Turns are those of start-time fair queuing, so a request of thousands does not hold up one of a
    few. Not for several threads at once.
    """

    def __init__(self, padded: Callable[[Encoded], int], passes: Passes) -> None:
        """`padded` tells a row's tokens after padding."""
        self._padded = padded
        self._passes = passes
        self._rows: dict[int, list[tuple[int, int, Row]]] = {}
        """By the group of rows that may share a pass a heap of (turn, arrival, row)."""
        self._arrival = itertools.count()
        self.turn = 0
        """The turn of the row that was taken last; requests that arrive begin there."""
        self.tokens = 0
        """Tokens to compute for all rows that wait."""

    def __bool__(self) -> bool:
        return any(self._rows.values())

    def add(self, job: Job, texts: Sequence[Sequence[Encoded]]) -> None:
        """Add the job's next texts, each as its windows.

        They take their turns by length: a pass that attends to its longest text wastes less on
        texts of a like length, and a request is answered when the last of its texts is.
        """
        first = job.encoded
        for windows in texts:
            job.windows.append(len(windows))
            job.truncated.append(windows[0].truncated)
        by_length = sorted(range(len(texts)), key=lambda text: len(texts[text][0]))
        for turn, text in enumerate(by_length, job.turn + first):
            for window in texts[text]:
                padded = self._padded(window)
                row = Row(job, first + text, window, padded, 1 / len(texts[text]))
                rows = self._rows.setdefault(self._passes.group(padded), [])
                heapq.heappush(rows, (turn, next(self._arrival), row))
                self.tokens += self._cost(row)

    def take(self, lanes: int) -> tuple[list[Row], int]:
        """The next batch, the row that is due first and more of its group, and its tokens.

        One of `lanes` leaves the others their part.
        """
        for rows in self._rows.values():
            while rows and not rows[0][2].job.unanswered:  # dropped
                self._pop(rows)
        self._rows = {group: rows for group, rows in self._rows.items() if rows}
        if not self._rows:
            return [], 0
        share = self._passes.share(self.tokens, lanes)
        rows = min(self._rows.values(), key=lambda rows: rows[0])
        self.turn = max(self.turn, rows[0][0])
        batch, filling = [], Filling(self._passes)
        while rows and filling.tokens < share:
            if not filling.takes(rows[0][2].padded, len(rows[0][2].encoded)):
                break
            batch.append(self._pop(rows))
        return [row for row in batch if row.job.unanswered], filling.tokens

    def _pop(self, rows: list[tuple[int, int, Row]]) -> Row:
        row = heapq.heappop(rows)[2]
        self.tokens -= self._cost(row)
        return row

    def _cost(self, row: Row) -> int:
        return self._passes.cost(row.padded, len(row.encoded))
