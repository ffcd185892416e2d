import copy
import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from tokenizers import processors
from transformers import AutoConfig

from serving.batching import Batcher
from serving.classifier import Classifier, Floats
from serving.encoding import MAX_WINDOWS, Encoded, Encoder
from serving.errors import InputError, ModelError, OverloadedError
from serving.reading import POOLED
from tests.conftest import hotel_rows

TEXTS = [text for text, _ in hotel_rows(700)]


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> Classifier:
    return Classifier.load(tiny_model)


class Gated(Classifier):
    """The real classifier, held before each forward pass until the test lets it go."""

    def __init__(self, real: Classifier) -> None:
        self.__dict__.update(real.__dict__)
        self.entered, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.calls: list[int] = []
        self.tokens: list[int] = []

    def logits(self, rows: Sequence[Encoded], lane: int | None = None) -> Floats:
        self.calls.append(len(rows))
        self.tokens.append(len(rows) * max(map(len, rows)))
        self.entered.release()
        assert self.go.acquire(timeout=30)
        return super().logits(rows, lane)


class Lanes(Gated):
    """The real classifier with two lanes, of which a third pass at a time would be an error."""

    def __init__(self, real: Classifier) -> None:
        super().__init__(real)
        self.backend = copy.copy(real.backend)
        self.backend.lanes = 2
        self.lanes: list[int | None] = []

    def logits(self, rows: Sequence[Encoded], lane: int | None = None) -> Floats:
        self.lanes.append(lane)
        return super().logits(rows, lane)


def test_lanes_share_the_work_and_a_lone_pass_takes_all_cores(classifier: Classifier) -> None:
    gated = Lanes(classifier)
    batcher = Batcher(gated, 100)
    short, long = ["us"], ["a park " * 5]  # of two padded lengths
    alone = batcher.submit(short, None)
    assert gated.entered.acquire(timeout=30)
    beside = batcher.submit(short, None)
    assert gated.entered.acquire(timeout=30)
    gated.go.release(2)
    assert [len(future.result(30).logits) for future in (alone, beside)] == [1, 1]
    assert gated.lanes[0] is None
    assert gated.lanes[1] in (0, 1)
    both = batcher.submit([*short * 8, *long * 8], None)  # more than one lane's part
    assert gated.entered.acquire(timeout=30)
    assert gated.entered.acquire(timeout=30)
    gated.go.release(2)
    expected = classifier.logits(classifier.encoder.encode([*short, *long]))
    assert np.allclose(both.result(30).logits, expected.repeat(8, axis=0), atol=1e-5)
    assert sorted(gated.lanes[2:], key=str) == [0, 1]
    batcher.close()


def test_a_request_that_fails_in_both_lanes_is_told_once_and_no_worker_ends(
    classifier: Classifier,
) -> None:
    class Fragile(Lanes):
        broken = True

        def logits(self, rows: Sequence[Encoded], lane: int | None = None) -> Floats:
            broken = self.broken
            found = super().logits(rows, lane)
            if broken:
                raise RuntimeError("no memory")
            return found

    gated = Fragile(classifier)
    batcher = Batcher(gated, 100)
    both = batcher.submit(["us"] * 8 + ["a park " * 5] * 8, None)
    assert gated.entered.acquire(timeout=30)
    assert gated.entered.acquire(timeout=30)
    gated.go.release(2)
    with pytest.raises(RuntimeError, match="no memory"):
        both.result(30)
    gated.broken = False
    gated.go.release(100)
    for _ in range(20):  # by whichever worker
        assert len(batcher.submit(["us"], None).result(30).logits) == 1
    assert batcher.alive
    batcher.close()


def test_a_pass_leaves_the_other_lane_to_a_request_that_came_meanwhile(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated, encode = Lanes(classifier), classifier.encode
    reading, read = threading.Event(), threading.Event()

    def held(*texts: Sequence[str] | None) -> list[list[Encoded]]:
        reading.set()
        assert read.wait(30)
        return encode(*texts)

    monkeypatch.setattr(gated, "encode", held)
    batcher = Batcher(gated, 100)
    first = batcher.submit(["us"], None)
    assert reading.wait(30)
    second = batcher.submit(["a park"], None)
    read.set()
    assert gated.entered.acquire(timeout=30)
    assert gated.entered.acquire(timeout=30)
    gated.go.release(2)
    assert [len(future.result(30).logits) for future in (first, second)] == [1, 1]
    assert sorted(gated.lanes, key=str) == [0, 1]
    batcher.close()


def test_a_worker_waits_beside_a_running_pass_for_those_that_it_has_answered(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.batching.ASK_AGAIN", 30)
    gated = Lanes(classifier)
    batcher = Batcher(gated, 100)
    held = batcher.submit(["us"], None)
    assert gated.entered.acquire(timeout=30)
    two = batcher.submit(["us"] * 2, None)  # an idle worker waits for nobody
    assert gated.entered.acquire(timeout=30)
    gated.go.release()
    done, _ = wait([held, two], timeout=30, return_when=FIRST_COMPLETED)
    again = len(done.pop().result().logits)
    for _ in range(again):
        assert not gated.entered.acquire(timeout=0.05)
        batcher.submit(["a park"], None)
    assert gated.entered.acquire(timeout=30)
    assert gated.calls == [1, 2, again]
    gated.go.release(2)
    batcher.close()


def test_a_worker_waits_no_longer_than_a_client_takes_to_ask_again(classifier: Classifier) -> None:
    gated = Lanes(classifier)
    batcher = Batcher(gated, 100)
    futures = []
    for _ in range(2):
        futures.append(batcher.submit(["us"] * 2, None))
        assert gated.entered.acquire(timeout=30)
    gated.go.release()
    wait(futures, timeout=30, return_when=FIRST_COMPLETED)
    batcher.submit(["a park"], None)  # one of the two that were answered
    assert gated.entered.acquire(timeout=30)
    assert gated.calls == [2, 2, 1]
    gated.go.release(2)
    batcher.close()


@pytest.mark.parametrize("lanes", [1, 2])
def test_requests_of_all_sizes_are_answered_and_closing_waits_for_them(
    classifier: Classifier, lanes: int
) -> None:
    gated = Lanes(classifier)
    gated.backend.lanes = lanes
    gated.go.release(100_000)
    batcher = Batcher(gated, 100_000)
    sizes = [1, 700, 2, 300, 5, 400, 1] * 3
    futures = [batcher.submit(TEXTS[:size], None) for size in sizes]
    futures[3].cancel()
    batcher.close()
    expected = classifier.logits(classifier.encoder.encode(TEXTS))
    for size, future in zip(sizes, futures, strict=True):
        if not future.cancelled():
            assert np.allclose(future.result(60).logits, expected[:size], atol=1e-5)
    assert sum(future.cancelled() for future in futures) <= 1
    deadline = time.monotonic() + 30
    while batcher.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not batcher.alive


def test_many_requests_get_their_own_answers(classifier: Classifier) -> None:
    batcher = Batcher(classifier, 10_000)
    sizes = [1, 2, 300, 5, 400, 1]
    futures = [batcher.submit(TEXTS[:size], None) for size in sizes]
    expected = classifier.logits(classifier.encoder.encode(TEXTS))
    for size, future in zip(sizes, futures, strict=True):
        answer = future.result(60)
        assert np.allclose(answer.logits, expected[:size], atol=1e-5)
        assert len(answer.truncated) == size
    batcher.close()


def test_what_waits_during_a_forward_pass_shares_the_next(classifier: Classifier) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 100)
    first = batcher.submit(["a"], None)
    assert gated.entered.acquire(timeout=30)
    others = [batcher.submit(["the room", "us"], None) for _ in range(3)]
    gated.go.release(2)
    for future in [first, *others]:
        future.result(30)
    assert gated.calls == [1, 6]
    batcher.close()


def test_a_large_request_does_not_keep_a_small_one_waiting(classifier: Classifier) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 10_000)
    large = batcher.submit(TEXTS * 3, None)
    assert gated.entered.acquire(timeout=30)
    small = batcher.submit(["us"], None)
    gated.go.release(2)
    small.result(30)
    assert not large.done()
    gated.go.release(1000)
    logits = large.result(60).logits
    expected = classifier.logits(classifier.encoder.encode(TEXTS))
    assert np.allclose(logits, np.tile(expected, (3, 1)), atol=1e-5)
    assert max(gated.tokens) <= classifier.backend.batch_tokens
    assert max(gated.calls) <= POOLED
    batcher.close()


def test_requests_of_thousands_share_the_passes_fairly(classifier: Classifier) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 100_000)
    first = batcher.submit(TEXTS * 4, None)
    assert gated.entered.acquire(timeout=30)
    second = batcher.submit(TEXTS, None)  # a quarter of the first, and later
    gated.go.release(1000)
    second.result(60)
    assert not first.done()
    first.result(60)
    batcher.close()


def test_a_full_queue_refuses_and_recovers(classifier: Classifier) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 4)
    held = batcher.submit(["us"], None)
    assert gated.entered.acquire(timeout=30)
    waiting = batcher.submit(["us"] * 3, None)
    with pytest.raises(OverloadedError):
        batcher.submit(["us"], None)
    gated.go.release(10)
    held.result(30)
    waiting.result(30)
    assert len(batcher.submit(["us"] * 4, None).result(30).logits) == 4
    batcher.close()


class Slow(Gated):
    """Ten texts a second."""

    def logits(self, rows: Sequence[Encoded], lane: int | None = None) -> Floats:
        time.sleep(0.1 * len(rows))
        return super().logits(rows, lane)


def test_what_would_wait_too_long_is_refused_by_the_rate_of_the_worker(
    classifier: Classifier,
) -> None:
    gated = Slow(classifier)
    batcher = Batcher(gated, 1000, max_wait=0.35)
    gated.go.release(1)
    batcher.submit(["us"] * 9, None).result(60)  # tells the rate
    held = [batcher.submit(["us"], None) for _ in range(3)]  # wait for 0, 1 and 2 texts
    with pytest.raises(OverloadedError):
        held += [batcher.submit(["us"], None) for _ in range(2)]  # for 0.3 s and 0.4 s at least
    gated.go.release(100)
    for future in held:
        future.result(60)
    assert len(batcher.submit(["us"] * 9, None).result(60).logits) == 9
    batcher.close()


def test_a_request_of_many_texts_does_not_make_the_server_refuse_one_of_few(
    classifier: Classifier,
) -> None:
    gated = Slow(classifier)
    batcher = Batcher(gated, 1000, max_wait=0.35)
    gated.go.release(1)
    batcher.submit(["us"] * 9, None).result(60)
    many = batcher.submit(TEXTS[:30], None)
    few = batcher.submit(["us"] * 2, None)  # of the many, two come before it
    with pytest.raises(OverloadedError):
        batcher.submit(["us"] * 30, None)
    gated.go.release(100)
    assert len(few.result(60).logits) == 2
    assert len(many.result(60).logits) == 30
    batcher.close()


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(
    classifier: Classifier,
) -> None:
    batcher = Batcher(classifier, 4)
    assert len(batcher.submit(TEXTS[:50], None).result(60).logits) == 50
    batcher.close()


def test_a_cancelled_request_costs_no_forward_pass(classifier: Classifier) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 100)
    held = batcher.submit(["us"], None)
    assert gated.entered.acquire(timeout=30)
    gone = batcher.submit(["us"] * 9, None)
    assert gone.cancel()
    last = batcher.submit(["us"], None)
    gated.go.release(10)
    held.result(30)
    last.result(30)
    assert gated.calls == [1, 1]
    batcher.close()


def test_what_is_left_of_a_started_request_is_dropped_when_it_is_cancelled(
    classifier: Classifier,
) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 1)
    gone = batcher.submit(TEXTS * 10, None)
    assert gated.entered.acquire(timeout=30)
    assert gone.cancel()
    gated.go.release(2)
    deadline = time.monotonic() + 30
    while True:  # refused until the worker has dropped the rest
        try:
            answer = batcher.submit(["us"], None)
            break
        except OverloadedError:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert len(answer.result(30).logits) == 1
    assert gated.calls[1:] == [1]
    batcher.close()


def test_long_texts_are_refused_where_that_was_asked_for(
    classifier: Classifier, tiny_model: Path
) -> None:
    rejecting = Classifier(
        classifier.encoder, classifier.backend, AutoConfig.from_pretrained(tiny_model), "reject"
    )
    batcher = Batcher(rejecting, 100)
    long = batcher.submit(["us", "a park " * 40], None)
    short = batcher.submit(["us"], None)
    with pytest.raises(InputError, match=r"text 1 .* longer than the 24 tokens"):
        long.result(30)
    assert short.result(30).truncated == [False]
    batcher.close()


def test_a_text_without_tokens_is_refused_and_named(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenizers of decoders add none to an empty text's."""
    tokenizer = copy.deepcopy(classifier.encoder.tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    bare = copy.copy(classifier)
    bare.encoder = Encoder(tokenizer, 24)
    batcher = Batcher(bare, 100)
    with pytest.raises(InputError, match=r"text 1 \(counted from 0\) has no tokens"):
        batcher.submit(["us", ""], None).result(30)
    assert len(batcher.submit(["us"], None).result(30).logits) == 1
    batcher.close()


def test_windows_of_a_long_text_are_pooled_whatever_else_waits(
    classifier: Classifier, tiny_model: Path
) -> None:
    windowed = Classifier(
        classifier.encoder, classifier.backend, AutoConfig.from_pretrained(tiny_model), "window"
    )
    long = "the room was clean and the staff rude " * 30
    batcher = Batcher(windowed, 100)
    begun = REGISTRY.get_sample_value("finegate_queue_seconds_count") or 0
    futures = [batcher.submit([text, long], None) for text in TEXTS[:20]]
    expected = windowed.classify([*TEXTS[:20], long])
    for future, scores in zip(futures, expected, strict=False):
        answer = future.result(30)
        assert np.abs(answer.scores - np.stack([scores, expected[-1]])).max() < 1e-6
        assert answer.truncated == [False, False]
    batcher.submit([long * 8], None).result(30)  # of several passes
    assert REGISTRY.get_sample_value("finegate_queue_seconds_count") == begun + 21
    batcher.close()


def test_windows_of_others_do_not_hold_up_a_short_text(classifier: Classifier) -> None:
    pooled: list[int] = []

    class Watched(Gated):
        def logits(self, rows: Sequence[Encoded], lane: int | None = None) -> Floats:
            pooled.extend(job.pooled for job in batcher._live)
            return super().logits(rows, lane)

    gated = Watched(classifier)
    gated.long_texts = "window"
    batcher = Batcher(gated, 100)
    long = batcher.submit(["us " * 10_000] * 20, None)
    assert gated.entered.acquire(timeout=30)
    short = batcher.submit(["us"], None)
    gated.go.release(2)  # for the pass that runs, and for the next
    assert len(short.result(60).logits) == 1
    assert not long.done()
    gated.go.release(10_000)
    assert long.result(60).truncated == [True] * 20
    assert POOLED - MAX_WINDOWS <= max(pooled) < POOLED + MAX_WINDOWS
    batcher.close()


def test_a_text_beyond_the_tokenizing_allowance_is_answered(classifier: Classifier) -> None:
    batcher = Batcher(classifier, 100)
    answer = batcher.submit(["us " * 30_000, "us", "us " * 30_000], None).result(60)
    assert answer.truncated == [True, False, True]
    assert np.allclose(answer.logits[0], answer.logits[2], atol=1e-6)
    batcher.close()


def out_of_range(rows: Floats) -> None:
    raise IndexError("index out of range")


def not_a_number(rows: Floats) -> None:
    rows[:, 0] = np.nan


@pytest.mark.parametrize(
    ("fault", "error"), [(out_of_range, IndexError), (not_a_number, ModelError)]
)
def test_a_request_that_breaks_the_model_does_not_fail_those_beside_it(
    fault: Callable[[Floats], None], error: type[Exception], classifier: Classifier
) -> None:
    class Fragile(Gated):
        def logits(self, rows: Sequence[Encoded], lane: int | None = None) -> Floats:
            logits = super().logits(rows, lane)
            for place, row in enumerate(rows):
                if len(row) > 20:
                    fault(logits[place : place + 1])
            return logits

    gated = Fragile(classifier)
    batcher = Batcher(gated, 100)
    held = batcher.submit(["a"], None)
    assert gated.entered.acquire(timeout=30)
    bad = batcher.submit(["us", "a park " * 40], None)
    good = [batcher.submit(["us"], None) for _ in range(3)]
    gated.go.release(100)
    for future in [held, *good]:
        assert np.isfinite(future.result(30).logits).all()
    with pytest.raises(error):
        bad.result(30)
    batcher.close()


def test_a_failed_forward_pass_fails_its_requests_and_no_later_one(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 100)
    with monkeypatch.context() as patch:

        def broken(rows: Sequence[Encoded], lane: int | None = None) -> Floats:
            raise RuntimeError("no memory")

        patch.setattr(gated, "logits", broken)
        with pytest.raises(RuntimeError, match="no memory"):
            batcher.submit(["us"], None).result(30)
    gated.go.release(1)
    assert len(batcher.submit(["us"], None).result(30).logits) == 1
    batcher.close()


def test_closing_finishes_what_is_queued(classifier: Classifier) -> None:
    batcher = Batcher(classifier, 10_000)
    futures = [batcher.submit(TEXTS[:100], None) for _ in range(5)]
    batcher.close()
    assert [len(future.result(60).logits) for future in futures] == [100] * 5


def test_long_texts_of_others_do_not_hold_up_a_short_one(classifier: Classifier) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 100_000)
    held = batcher.submit(["us"], None)
    assert gated.entered.acquire(timeout=30)
    long = [batcher.submit(["us " * 10_000] * 2, None) for _ in range(4)]
    short = batcher.submit(["us"], None)
    gated.go.release(3)  # for those two, and for a pass of what was tokenized with the short one
    assert len(short.result(60).logits) == 1
    assert not any(future.done() for future in long)
    gated.go.release(100)
    assert all(future.result(60).truncated == [True, True] for future in long)
    assert held.result(30).truncated == [False]
    batcher.close()


def test_what_waits_is_bounded_in_characters_too(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.batching.WAITING_CHARACTERS", 100)
    gated = Gated(classifier)
    batcher = Batcher(gated, 1000)
    held = batcher.submit(["us" * 30], ["us" * 30])
    assert gated.entered.acquire(timeout=30)
    with pytest.raises(OverloadedError):
        batcher.submit(["us"], None)
    gated.go.release(2)
    held.result(30)
    assert len(batcher.submit(["us"], None).result(30).logits) == 1
    batcher.close()


def test_a_request_of_many_texts_is_taken_beside_others(classifier: Classifier) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 4)
    batcher.submit(["us"], None)
    assert gated.entered.acquire(timeout=30)
    many = batcher.submit(TEXTS[:50], None)  # more than may ever wait beside another
    gated.go.release(100)
    assert len(many.result(60).logits) == 50
    batcher.close()


def test_a_fault_of_a_worker_is_told_to_all_who_wait_and_to_all_who_come(
    classifier: Classifier,
) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 100)
    started = batcher.submit(["us"], None)
    assert gated.entered.acquire(timeout=30)
    waiting = batcher.submit(["us"], None)
    batcher._pool = None  # type: ignore[assignment]  # a fault that no request can cause
    gated.go.release(2)
    assert len(started.result(30).logits) == 1
    with pytest.raises(AttributeError):
        waiting.result(30)
    with pytest.raises(RuntimeError, match="worker of the predictor has ended"):
        batcher.submit(["us"], None)
    for worker in batcher._workers:
        worker.join(30)
    assert not batcher.alive


def test_what_was_answered_is_freed_without_the_garbage_collector(classifier: Classifier) -> None:
    batcher = Batcher(classifier, 100)
    gc.collect()
    gc.disable()
    try:
        future = batcher.submit(["us"], None)
        answered = weakref.ref(future)
        future.result(30)
        del future
        batcher.submit(["us"], None).result(30)  # the worker holds on to its last batch alone
        assert answered() is None
    finally:
        gc.enable()
        batcher.close()
