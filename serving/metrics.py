"""What Prometheus sees of the predictor; never a text."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from serving.classifier import Classifier, Floats
from serving.errors import ClientGoneError, InputError, OverloadedError

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_POWERS = tuple(2**power for power in range(15))

REQUESTS = Counter(
    "finegate_requests",
    "Requests by outcome: answered, invalid, overloaded (shed), gone (client left), failed.",
    ["protocol", "outcome"],
)
REQUEST_SECONDS = Histogram(
    "finegate_request_seconds",
    "From the head read to the answer written, answered requests.",
    ["protocol"],
    buckets=_SECONDS,
)
QUEUE_SECONDS = Histogram(
    "finegate_queue_seconds", "From acceptance to the first forward pass.", buckets=_SECONDS
)
WAITING = Gauge("finegate_waiting_texts", "Accepted texts without an answer yet.")
BATCH_TEXTS = Histogram("finegate_batch_texts", "Texts in a forward pass.", buckets=_POWERS)
BATCH_TOKENS = Histogram(
    "finegate_batch_tokens", "Tokens in a forward pass, padding included.", buckets=_POWERS
)
TRUNCATED = Counter("finegate_truncated_texts", "Texts cut to the maximum length.", ["version"])
LABELS = Counter("finegate_predicted_labels", "Labels that were answered.", ["version", "label"])
CONFIDENCE = Histogram(
    "finegate_confidence",
    "Probability of the best label.",
    ["version"],
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
)
MODEL = Gauge("finegate_model_info", "The release that answers.", ["name", "version", "backend"])
RELOADS = Counter("finegate_reloads", "Releases loaded while serving.", ["outcome"])


@contextmanager
def observed(protocol: str) -> Iterator[None]:
    """Count one request and its outcome; its time when it was answered."""
    began = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = "answered"
        REQUEST_SECONDS.labels(protocol).observe(time.perf_counter() - began)
    except InputError:
        outcome = "invalid"
        raise
    except OverloadedError:
        outcome = "overloaded"
        raise
    except (asyncio.CancelledError, ClientGoneError):
        outcome = "gone"
        raise
    finally:
        REQUESTS.labels(protocol, outcome).inc()


def record_answer(
    classifier: Classifier, scores: Floats, truncated: list[bool], version: str
) -> None:
    """Count the labels and confidences of one answer; scores have the shape [texts, labels].

    A multi-label answer counts each label of at least 0.5. A regression has neither.
    """
    TRUNCATED.labels(version).inc(sum(truncated))
    if classifier.problem_type == "regression":
        return
    if classifier.problem_type == "multi_label_classification":
        counts = (scores >= 0.5).sum(axis=0)
    else:
        counts = np.bincount(scores.argmax(axis=1), minlength=len(classifier.labels))
    for label, count in zip(classifier.labels, counts, strict=True):
        LABELS.labels(version, label).inc(int(count))
    confidence = CONFIDENCE.labels(version)
    for best in scores.max(axis=1):
        confidence.observe(float(best))
