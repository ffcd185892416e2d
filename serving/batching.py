"""Dynamic batching: requests that wait together are classified together, on worker threads."""

import logging
import math
import queue
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np

from serving import metrics
from serving.classifier import Classifier, Floats
from serving.errors import ModelError, OverloadedError
from serving.pool import Classified, Job, Pool, Row
from serving.rate import Rate
from serving.reading import Reader

logger = logging.getLogger("finegate")

WAITING_CHARACTERS = 1 << 25
"""Characters that may wait: a bound on memory, since a text may have any number of them."""


ASK_AGAIN = 0.001
"""Seconds in which a client that was answered is expected to ask again, or the next one of them."""


_WAKE = Job.of((), None, 0)
"""Stands in the queue of arrivals for work that did not arrive."""


class Batcher:
    """Bounded queue and worker threads around one classifier, one for each lane of its backend.

    While forward passes run the next batch gathers, so batches grow with the load and an idle
    server answers at once, with all its cores. A worker takes what is there; it waits for more only
    beside a running pass, and for no more texts than it has just answered (see ASK_AGAIN). Each
    pass takes texts in the order of the pool.
    """

    def __init__(self, classifier: Classifier, max_queue: int, max_wait: float = math.inf) -> None:
        """Requests are refused while `max_queue` texts wait, and beyond `max_wait` seconds to wait.

        The seconds are those until a request's turn, at the rate measured last.
        """
        self._classifier = classifier
        self._max_queue = max_queue
        self._max_wait = max_wait
        self._rate = Rate()
        self._waiting = self._characters = 0
        self._live: set[Job] = set()
        self._lock = threading.Lock()
        """Held for moments only, by submit too; the locks below are the workers' own."""
        self._planning, self._state = threading.Lock(), threading.Lock()
        self._arrivals: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._reader = Reader(classifier)
        self._pool = Pool(classifier.padded, classifier.passes)
        self._running = 0
        self._ended = -math.inf
        self._closing = False
        self._fault: Exception | None = None
        self._workers = [
            threading.Thread(target=self._work, args=[lane], name=f"classifier-{lane}", daemon=True)
            for lane in range(classifier.backend.lanes)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Future[Classified]:
        """Queue one request; raises OverloadedError when as much waits as may.

        A request of any size is taken when nothing waits. Cancelling the future drops what of the
        request was not yet classified. Raises RuntimeError when a worker has ended on a fault.
        """
        job = Job.of(texts, pairs, len(self._classifier.labels))
        with self._lock:
            if self._fault is not None:
                raise RuntimeError("a worker of the predictor has ended") from self._fault
            self.check_room(len(texts))
            self._waiting += len(texts)
            self._characters += job.characters
            self._live.add(job)
        metrics.WAITING.inc(len(texts))
        self._arrivals.put(job)
        # Weak: a cycle would keep texts and answers until the garbage collector comes.
        job.future.add_done_callback(partial(self._cancelled, weakref.ref(job)))
        return job.future

    def _cancelled(self, reference: weakref.ref[Job], done: Future[Classified]) -> None:
        """Tell the planner of a cancelled job by letting it arrive again."""
        job = reference()
        if done.cancelled() and job is not None:
            self._arrivals.put(job)

    def check_room(self, texts: int = 1) -> None:
        """Raises OverloadedError when so many more texts would be refused now.

        Turns are shared fairly, so of each request before it as many texts come first at most.
        """
        if not self._live:
            return
        ahead = len(self._live)
        if texts > 1:
            ahead = sum(min(job.unanswered, texts) for job in self._live)
        if (
            self._waiting >= self._max_queue
            or self._characters >= WAITING_CHARACTERS
            or ahead * self._rate.seconds_each > self._max_wait
        ):
            raise OverloadedError

    @property
    def alive(self) -> bool:
        """False once a worker has ended: nothing is answered any more."""
        return all(worker.is_alive() for worker in self._workers)

    def close(self) -> None:
        """Finish what is queued, then end the workers; returns at once."""
        self._arrivals.put(None)

    def _work(self, lane: int) -> None:
        try:
            self._serve(lane)
        except Exception as error:
            # A fault of ours, not of a request: whoever waits is told, and the process is to be
            # started anew (see `alive`).
            logger.exception("worker %s has ended", lane)
            with self._state:
                with self._lock:
                    self._fault = error
                    live = list(self._live)
                for job in live:
                    self._drop(job, error)

    def _serve(self, lane: int) -> None:
        answered = 0
        while (planned := self._plan(answered)) is not None:
            batch, alone, began = planned
            answered = self._classify(batch, None if alone else lane)
            with self._state:
                self._running -= 1
                now = time.perf_counter()
                self._rate.add(answered, now - max(began, self._ended))
                self._ended = now
                unread = any(row.job.unread for row in batch)
                if unread or self._closing:  # the planner has something to do that did not arrive
                    self._arrivals.put(_WAKE)

    def _plan(self, answered: int) -> tuple[list[Row], bool, float] | None:
        """The next batch, whether it runs alone, and when planning it began; None at the end.

        One thread plans at a time, and waits here when there is nothing to do; the others run
        their batches or wait behind it. So many texts as were `answered` may come again.
        """
        with self._planning:
            arrivals: list[Job | None] = []
            while True:
                began = time.perf_counter()
                while not self._arrivals.empty():
                    arrivals.append(self._arrivals.get())
                with self._state:
                    self._closing = self._closing or None in arrivals
                    came = [job for job in arrivals if job is not None and job is not _WAKE]
                    self._take(came)
                answered -= sum(len(job.texts) for job in came)
                encoded = self._reader.read()
                with self._state:
                    for job, texts in encoded:
                        if isinstance(texts, Exception):
                            self._drop(job, texts)
                        else:
                            self._pool.add(job, texts)
                    self._reader.forget_done()
                    small = 0 < self._pool.tokens < self._classifier.passes.least
                    waits = small and answered > 0 and self._running and not self._closing
                    batch, tokens = ([], 0) if waits else self._pool.take(len(self._workers))
                    if batch:
                        self._running += 1
                        self._begin(batch)
                        alone = self._running == 1 and len(self._live) == 1 and not self._pool
                        metrics.BATCH_TOKENS.observe(tokens)
                        return batch, alone, began
                    if self._closing and not self._reader:
                        return None
                arrivals = []
                if waits:
                    try:
                        arrivals = [self._arrivals.get(timeout=ASK_AGAIN)]
                    except queue.Empty:
                        answered = 0
                elif not encoded:
                    arrivals = [self._arrivals.get()]

    def _take(self, arrived: Iterable[Job]) -> None:
        for job in arrived:
            if job.future.cancelled():
                self._drop(job)
            else:
                job.turn = self._pool.turn
                self._reader.add(job)
        self._reader.forget_done()

    def _begin(self, batch: list[Row]) -> None:
        """Tell how long those have waited of whom these are the first windows in a pass."""
        now = time.perf_counter()
        for row in batch:
            if not row.job.begun:
                row.job.begun = True
                metrics.QUEUE_SECONDS.observe(now - row.job.submitted)

    def _classify(self, batch: list[Row], lane: int | None) -> int:
        """Run one batch and answer its requests; returns how many texts were answered."""
        metrics.BATCH_TEXTS.observe(len(batch))
        try:
            logits = self._classifier.logits([row.encoded for row in batch], lane)
            if not np.isfinite(logits).all():
                raise ModelError(
                    "the model answers a text of this request with NaN or infinity: its weights "
                    "are damaged, or too large for its number format. Another release is needed."
                )
            scores = self._classifier.probabilities(logits)
        except Exception as error:  # noqa: BLE001 - the worker must outlive a failed batch
            return self._isolate(batch, lane, error)
        with self._state:
            return self._answer(batch, scores, logits)

    def _answer(self, batch: list[Row], scores: Floats, logits: Floats) -> int:
        answered, done = 0, set()
        for row, row_scores, row_logits in zip(batch, scores, logits, strict=True):
            job, place = row.job, row.place
            job.scores[place] += row.weight * row_scores
            job.logits[place] += row.weight * row_logits
            job.windows[place] -= 1
            job.pooled -= 1
            if job.windows[place] or not job.unanswered:
                continue
            answered += 1
            job.unanswered -= 1
            if job.unanswered == 0:
                done.add(job)
        self._release(answered, done)  # first: who is answered may ask again at once
        for job in done:
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(Classified(job.scores, job.logits, job.truncated))
        return answered

    def _isolate(self, batch: list[Row], lane: int | None, error: Exception) -> int:
        """Try each request of a failed batch alone, so that one cannot fail the others."""
        jobs = list(dict.fromkeys(row.job for row in batch))
        if len(jobs) == 1:
            with self._state:
                self._drop(jobs[0], error)
            return 0
        return sum(self._classify([row for row in batch if row.job is job], lane) for job in jobs)

    def _drop(self, job: Job, error: Exception | None = None) -> None:
        texts, job.unanswered = job.unanswered, 0
        self._release(texts, {job})
        told = job.future.done()  # passes of one request may fail in several lanes
        if error is not None and not told and job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)

    def _release(self, texts: int, done: set[Job]) -> None:
        with self._lock:
            self._waiting -= texts
            self._characters -= sum(job.characters for job in done & self._live)
            self._live -= done
        metrics.WAITING.dec(texts)
