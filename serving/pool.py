"""Requests that wait, and their encoded texts in the order in which they are due."""

import bisect
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from serving.classifier import Floats
from serving.encoding import Encoded
from serving.passes import Filling, Passes

LOOKAHEAD = 4
"""Full passes' worth of rows, those that are due first, from which a pass takes like lengths.

Of more they are more alike, but each take looks at them all, and more rows overtake others.
"""


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
    """The turn at which its next window is due; each of the others is due a turn later."""
    begun: bool = False
    """A window of it was in a pass."""
    pooled: int = 0
    """Windows in the pool or in a pass."""
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


Due = tuple[int, int, Row]
"""A row that waits, with its turn and its arrival before it: the least is due first."""


class Pool:
    """Rows that wait for a pass, in turns.

    Turns are those of start-time fair queuing, so a request of thousands does not hold up one of a
    few. A pass has the row that is due first, so none waits for more passes than rows are due
    before it. The others of the pass are those due soon whose lengths are nearest to that row's,
    since attention pads to the longest. Not for several threads at once.
    """

    def __init__(self, padded: Callable[[Encoded], int], passes: Passes) -> None:
        """`padded` tells a row's tokens after padding."""
        self._padded = padded
        self._passes = passes
        self._rows: dict[int, list[Due]] = {}
        """By the group of rows that may share a pass, as they are due."""
        self._arrival = itertools.count()
        self.turn = 0
        """The turn of the last pass's row that was due first; requests that arrive begin there."""
        self.tokens = 0
        """Tokens to compute for all rows that wait."""
        self._share = 0
        """Tokens for each pass over the rows that wait, so that all are equal; 0 when more came."""

    def __bool__(self) -> bool:
        return any(self._rows.values())

    def add(self, job: Job, texts: Sequence[Sequence[Encoded]]) -> None:
        """Add the job's next texts, each as its windows.

        They take their turns by length: a pass that attends to its longest text wastes less on
        texts of a like length, and a request is answered when the last of its texts is.
        """
        self._share = 0
        first = job.encoded
        for windows in texts:
            job.windows.append(len(windows))
            job.truncated.append(windows[0].truncated)
        by_length = sorted(range(len(texts)), key=lambda text: len(texts[text][0]))
        for text in by_length:
            for window in texts[text]:
                padded = self._padded(window)
                row = Row(job, first + text, window, padded, 1 / len(texts[text]))
                rows = self._rows.setdefault(self._passes.group(padded), [])
                bisect.insort(rows, (job.turn, next(self._arrival), row))
                self.tokens += self._cost(row)
                job.pooled += 1
                job.turn += 1

    def take(self, lanes: int) -> tuple[list[Row], int]:
        """The next batch, the row that is due first and others of its group, and its tokens.

        One of `lanes` leaves the others their part.
        """
        for rows in self._rows.values():
            self._soon(rows, 1)
        self._rows = {group: rows for group, rows in self._rows.items() if rows}
        if not self._rows:
            return [], 0
        rows = min(self._rows.values(), key=lambda rows: rows[0])
        soon = self._soon(rows, LOOKAHEAD * self._passes.tokens)
        self._share = self._share or self._passes.share(self.tokens, lanes)
        turn, _, first = soon[0]
        self.turn = max(self.turn, turn)
        batch, filling = [], Filling(self._passes)
        for _, _, row in sorted(soon, key=lambda due: abs(due[2].padded - first.padded)):
            if filling.tokens >= self._share or not filling.takes(row.padded, len(row.encoded)):
                break
            batch.append(row)
        taken = set(batch)
        rows[: len(soon)] = [due for due in soon if due[2] not in taken]
        self.tokens -= filling.tokens
        return batch, filling.tokens

    def _soon(self, rows: list[Due], tokens: int) -> list[Due]:
        """The first of `rows`, of so many `tokens` at least; the dropped among them are removed."""
        soon: list[Due] = []
        seen = 0
        while seen < len(rows) and tokens > 0:
            due = rows[seen]
            seen += 1
            cost = self._cost(due[2])
            if due[2].job.unanswered:
                soon.append(due)
                tokens -= cost
            else:
                self.tokens -= cost
        rows[:seen] = soon
        return soon

    def _cost(self, row: Row) -> int:
        return self._passes.cost(row.padded, len(row.encoded))
