"""Dynamic batching: requests that wait together are classified together, on one worker thread."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from serving.classifier import Classifier, Floats
from serving.encoding import Encoded

ROWS_A_TURN = 256
"""Rows of all waiting requests that one turn takes, so that a large request lets others in."""


class OverloadedError(Exception):
    """The queue is full. The request was not accepted and can be sent again."""


@dataclass(frozen=True)
class Classified:
    """The worker's answer to one request."""

    logits: Floats
    """Shape [texts, outputs]."""
    truncated: list[bool]


@dataclass
class _Job:
    texts: Sequence[str]
    pairs: Sequence[str] | None
    future: Future[Classified]
    taken: int = 0
    logits: list[Floats] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)


class Batcher:
    """Bounded queue and worker thread around one classifier.

    The worker never waits for more: it takes what is there. While a forward pass runs the next
    batch gathers, so batches grow with the load and an idle server answers at once.
    """

    def __init__(self, classifier: Classifier, max_waiting: int) -> None:
        """`max_waiting`: texts that may wait before further requests are refused."""
        self._classifier = classifier
        self._max_waiting = max_waiting
        self._waiting = 0
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="classifier", daemon=True)
        self._worker.start()

    def submit(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Future[Classified]:
        """Queue one request; raises OverloadedError when as many texts wait as may."""
        with self._lock:
            if self._waiting and self._waiting + len(texts) > self._max_waiting:
                raise OverloadedError
            self._waiting += len(texts)
        job = _Job(texts, pairs, Future())
        self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Finish what is queued, then end the worker; returns at once."""
        self._jobs.put(None)

    def _work(self) -> None:
        open_jobs: list[_Job] = []
        closing = False
        while not closing or open_jobs:
            if not open_jobs:
                closing |= not self._take(self._jobs.get(), open_jobs)
            while not self._jobs.empty():
                closing |= not self._take(self._jobs.get(), open_jobs)
            open_jobs = self._turn(open_jobs)

    def _take(self, job: _Job | None, open_jobs: list[_Job]) -> bool:
        if job is not None:
            open_jobs.append(job)
        return job is not None

    def _turn(self, jobs: list[_Job]) -> list[_Job]:
        """Classify up to ROWS_A_TURN rows of the jobs, a fair share each; returns those left."""
        share = max(1, ROWS_A_TURN // max(1, len(jobs)))
        rows: list[Encoded] = []
        parts: list[tuple[_Job, int]] = []
        for job in jobs:
            if job.taken == 0 and not job.future.set_running_or_notify_cancel():
                job.taken = len(job.texts)  # its client went away while it waited
                self._release(len(job.texts))
                continue
            turn = slice(job.taken, job.taken + share)
            texts = job.texts[turn]
            try:
                encoded = self._classifier.encoder.encode(
                    texts, None if job.pairs is None else job.pairs[turn]
                )
            except Exception as error:  # noqa: BLE001 - belongs to this request alone
                job.future.set_exception(error)
                self._release(len(job.texts) - job.taken)
                job.taken = len(job.texts)
                continue
            job.taken += len(texts)
            job.truncated += [row.truncated for row in encoded]
            rows += encoded
            parts.append((job, len(encoded)))
        if rows:
            self._classify(rows, parts)
        return [job for job in jobs if job.taken < len(job.texts)]

    def _classify(self, rows: list[Encoded], parts: list[tuple[_Job, int]]) -> None:
        try:
            logits = self._classifier.logits(rows)
        except Exception as error:  # noqa: BLE001 - the worker must outlive a failed batch
            for job, count in parts:
                job.future.set_exception(error)
                self._release(count + len(job.texts) - job.taken)
                job.taken = len(job.texts)
            return
        start = 0
        for job, count in parts:
            job.logits.append(logits[start : start + count])
            start += count
            self._release(count)
            if job.taken == len(job.texts):
                job.future.set_result(Classified(np.concatenate(job.logits), job.truncated))

    def _release(self, texts: int) -> None:
        with self._lock:
            self._waiting -= texts
