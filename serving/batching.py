"""Dynamic batching: requests that wait together are classified together, on one worker thread."""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from serving import metrics
from serving.classifier import BATCH_TOKENS, Classifier, Floats, batches
from serving.encoding import Encoded
from serving.errors import InputError, OverloadedError

WINDOW = 256
"""Encoded texts that one request may have in the pool: the more, the less padding."""
ENCODED_CHARACTERS = 1 << 14
"""Characters of one request that are tokenized between two forward passes (about 10 ms)."""


@dataclass(frozen=True)
class Classified:
    """The worker's answer to one request."""

    logits: Floats
    """Shape [texts, outputs]."""
    truncated: list[bool]


@dataclass(eq=False)
class _Job:
    texts: Sequence[str]
    pairs: Sequence[str] | None
    logits: Floats
    future: Future[Classified] = field(default_factory=Future)
    truncated: list[bool] = field(default_factory=list)
    submitted: float = field(default_factory=time.perf_counter)
    turn: int = 0
    """The turn at which its first text is due; the text at place p is due p turns later."""
    unanswered: int = 0

    @property
    def encoded(self) -> int:
        return len(self.truncated)


@dataclass(frozen=True, eq=False, slots=True)
class _Row:
    job: _Job
    place: int
    encoded: Encoded

    @property
    def turn(self) -> int:
        return self.job.turn + self.place


class Batcher:
    """Bounded queue and worker thread around one classifier.

    The worker never waits for more: it takes what is there. While a forward pass runs the next
    batch gathers, so batches grow with the load and an idle server answers at once. Each pass
    takes the texts of one length class, always including the text that is due first. Turns are
    those of start-time fair queuing, so a request of thousands does not hold up one of a few.
    """

    def __init__(
        self, classifier: Classifier, max_queue: int, *, reject_long: bool = False
    ) -> None:
        """`max_queue`: texts that may wait before further requests are refused.

        With `reject_long` a request with a text beyond the maximum length fails with InputError.
        """
        self._classifier = classifier
        self._max_queue = max_queue
        self._reject_long = reject_long
        self._waiting = 0
        self._lock = threading.Lock()
        self._arrivals: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._jobs: list[_Job] = []
        self._pool: list[_Row] = []
        self._turn = 0
        self._worker = threading.Thread(target=self._work, name="classifier", daemon=True)
        self._worker.start()

    def submit(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Future[Classified]:
        """Queue one request; raises OverloadedError when as many texts wait as may.

        A request larger than the queue is taken when nothing waits. Cancelling the future drops
        what of the request was not yet classified.
        """
        with self._lock:
            if self._waiting and self._waiting + len(texts) > self._max_queue:
                raise OverloadedError
            self._waiting += len(texts)
        metrics.WAITING.inc(len(texts))
        logits = np.empty((len(texts), len(self._classifier.labels)), dtype=np.float32)
        job = _Job(texts, pairs, logits, unanswered=len(texts))
        self._arrivals.put(job)
        return job.future

    @property
    def alive(self) -> bool:
        """False once the worker has ended."""
        return self._worker.is_alive()

    def close(self) -> None:
        """Finish what is queued, then end the worker; returns at once."""
        self._arrivals.put(None)

    def _work(self) -> None:
        closing = False
        while True:
            if not self._jobs and closing:
                return
            arrivals = [] if self._jobs else [self._arrivals.get()]
            while not self._arrivals.empty():
                arrivals.append(self._arrivals.get())
            closing = closing or None in arrivals
            for job in filter(None, arrivals):
                job.turn = self._turn
                self._jobs.append(job)
            for job in self._jobs:
                if job.future.cancelled():
                    self._drop(job)
                else:
                    self._encode(job)
            self._jobs = [job for job in self._jobs if job.unanswered]
            self._pool = [row for row in self._pool if row.job.unanswered]
            if self._pool:
                self._classify(self._next_batch())

    def _encode(self, job: _Job) -> None:
        """Tokenize the job's next texts, as many as its window and the time allow."""
        start = end = job.encoded
        answered = len(job.texts) - job.unanswered
        characters = 0
        while end < min(len(job.texts), answered + WINDOW):
            characters += len(job.texts[end]) + (len(job.pairs[end]) if job.pairs else 0)
            if characters > ENCODED_CHARACTERS and end > answered:
                break
            end += 1
        try:
            pairs = None if job.pairs is None else job.pairs[start:end]
            rows = self._classifier.encoder.encode(job.texts[start:end], pairs)
            if self._reject_long:
                self._check_length(rows, start)
        except Exception as error:  # noqa: BLE001 - belongs to this request alone
            self._drop(job, error)
            return
        job.truncated += [row.truncated for row in rows]
        self._pool += [_Row(job, start + place, row) for place, row in enumerate(rows)]

    def _check_length(self, rows: list[Encoded], start: int) -> None:
        for place, row in enumerate(rows, start):
            if row.truncated:
                raise InputError(
                    f"text {place} (counted from 0) is longer than the "
                    f"{self._classifier.encoder.max_length} tokens that the model takes, and this "
                    "endpoint rejects such texts instead of cutting them. Send an excerpt."
                )

    def _next_batch(self) -> list[_Row]:
        """The length class that holds the row due first, taken out of the pool."""
        first = min(range(len(self._pool)), key=lambda place: self._pool[place].turn)
        self._turn = max(self._turn, self._pool[first].turn)
        lengths = [len(row.encoded) for row in self._pool]
        chosen = set(next(group for group in batches(lengths, BATCH_TOKENS) if first in group))
        batch = [self._pool[place] for place in chosen]
        self._pool = [row for place, row in enumerate(self._pool) if place not in chosen]
        return batch

    def _classify(self, batch: list[_Row]) -> None:
        now = time.perf_counter()
        for row in batch:
            if row.place == 0:
                metrics.QUEUE_SECONDS.observe(now - row.job.submitted)
        metrics.BATCH_TEXTS.observe(len(batch))
        metrics.BATCH_TOKENS.observe(len(batch) * max(len(row.encoded) for row in batch))
        try:
            logits = self._classifier.logits([row.encoded for row in batch])
        except Exception as error:  # noqa: BLE001 - the worker must outlive a failed batch
            self._isolate(batch, error)
            return
        for row, values in zip(batch, logits, strict=True):
            job = row.job
            job.logits[row.place] = values
            job.unanswered -= 1
            if job.unanswered == 0 and job.future.set_running_or_notify_cancel():
                job.future.set_result(Classified(job.logits, job.truncated))
        self._release(len(batch))

    def _isolate(self, batch: list[_Row], error: Exception) -> None:
        """Try each request of a failed batch alone, so that one cannot fail the others."""
        jobs = list(dict.fromkeys(row.job for row in batch))
        if len(jobs) == 1:
            self._drop(jobs[0], error)
            return
        for job in jobs:
            self._classify([row for row in batch if row.job is job])

    def _drop(self, job: _Job, error: Exception | None = None) -> None:
        if error is not None and job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)
        self._release(job.unanswered)
        job.unanswered = 0

    def _release(self, texts: int) -> None:
        with self._lock:
            self._waiting -= texts
        metrics.WAITING.dec(texts)
