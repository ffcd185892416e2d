import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from serving.batching import ROWS_A_TURN, Batcher, OverloadedError
from serving.classifier import Classifier, Floats
from serving.encoding import Encoded
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

    def logits(self, rows: Sequence[Encoded]) -> Floats:
        self.calls.append(len(rows))
        self.entered.release()
        assert self.go.acquire(timeout=30)
        return super().logits(rows)


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
    gated.go.release(100)
    assert len(large.result(60).logits) == len(TEXTS) * 3
    assert max(gated.calls) <= ROWS_A_TURN
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


def test_a_failed_forward_pass_fails_its_requests_and_no_later_one(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(classifier)
    batcher = Batcher(gated, 100)
    with monkeypatch.context() as patch:

        def broken(rows: Sequence[Encoded]) -> Floats:
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
