"""What Prometheus sees of the predictor; never a text."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kserve.errors import ModelNotFound
from prometheus_client import Counter, Gauge, Histogram

from serving.classifier import Classifier, Floats
from serving.errors import ClientGoneError, InputError, OverloadedError
from serving.reference import CONFIDENCE_BOUNDS, Reference, label_counts

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_POWERS = tuple(2**power for power in range(15))

REQUESTS = Counter(
    "finegate_requests",
    "Requests by outcome: answered, invalid, overloaded (shed), gone (client left), failed.",
    ["protocol", "outcome"],
)
REQUEST_SECONDS = Histogram(
    "finegate_request_seconds",
    "From the head read to the answer formatted, answered requests.",
    ["protocol"],
    buckets=_SECONDS,
)
QUEUE_SECONDS = Histogram(
    "finegate_queue_seconds", "From acceptance to the first forward pass.", buckets=_SECONDS
)
WAITING = Gauge("finegate_waiting_texts", "Accepted texts without an answer yet.")
BATCH_TEXTS = Histogram("finegate_batch_texts", "Texts in a forward pass.", buckets=_POWERS)
BATCH_TOKENS = Histogram(
    "finegate_batch_tokens", "Tokens computed in a forward pass.", buckets=_POWERS
)
TRUNCATED = Counter("finegate_truncated_texts", "Texts cut to the maximum length.", ["version"])
LABELS = Counter("finegate_predicted_labels", "Labels that were answered.", ["version", "label"])
CONFIDENCE = Histogram(
    "finegate_confidence",
    "Probability of the best label.",
    ["version"],
    buckets=CONFIDENCE_BOUNDS,
)
REFERENCE_LABELS = Gauge(
    "finegate_reference_label_ratio",
    "Share of the label in the answers to the release's test rows.",
    ["version", "label"],
)
REFERENCE_CONFIDENCE = Gauge(
    "finegate_reference_confidence_ratio",
    "Share of the release's test rows whose best label has a probability of at most le.",
    ["version", "le"],
)
MODEL = Gauge("finegate_model_info", "The release that answers.", ["name", "version", "backend"])
RELOADS = Counter("finegate_reloads", "Releases loaded while serving.", ["outcome"])

# A series that starts with its first event has no rate at that event: the first failure in a day
# would go unseen. So what can be named beforehand starts at 0.
for _protocol in ("v1", "v2", "grpc"):
    REQUEST_SECONDS.labels(_protocol)
    for _outcome in ("answered", "invalid", "overloaded", "gone", "failed"):
        REQUESTS.labels(_protocol, _outcome)
for _outcome in ("loaded", "failed"):
    RELOADS.labels(_outcome)


@contextmanager
def observed(protocol: str) -> Iterator[None]:
    """Count one request and its outcome; its time when it was answered."""
    began = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = "answered"
        REQUEST_SECONDS.labels(protocol).observe(time.perf_counter() - began)
    except (InputError, ModelNotFound):
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


def record_release(
    name: str, version: str, classifier: Classifier, reference: Reference | None
) -> None:
    """Tell which release answers from now on, and how it answered its test rows."""
    for gauge in (MODEL, REFERENCE_LABELS, REFERENCE_CONFIDENCE):
        gauge.clear()
    MODEL.labels(name, version, classifier.backend.name).set(1)
    TRUNCATED.labels(version)
    if classifier.problem_type == "regression":
        return
    CONFIDENCE.labels(version)
    for label in classifier.labels:
        LABELS.labels(version, label)
    if reference is None:
        return
    answers = max(1, sum(reference.labels.values()))  # with several labels a row not `rows`
    for label, count in reference.labels.items():
        REFERENCE_LABELS.labels(version, label).set(count / answers)
    for bound, count in reference.confidence.items():
        REFERENCE_CONFIDENCE.labels(version, str(bound)).set(count / reference.rows)


def record_answer(
    classifier: Classifier, scores: Floats, truncated: list[bool], version: str
) -> None:
    """Count the labels and confidences of one answer; scores have the shape [texts, labels].

    A regression has neither.
    """
    if any(truncated):
        TRUNCATED.labels(version).inc(sum(truncated))
    counts = label_counts(classifier.problem_type, scores)
    if counts is None:
        return
    for label, count in zip(classifier.labels, counts.tolist(), strict=True):
        if count:
            LABELS.labels(version, label).inc(count)
    confidence = CONFIDENCE.labels(version)
    for best in scores.max(axis=1).tolist():
        confidence.observe(best)
