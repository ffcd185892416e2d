"""The mix of answers at the evaluation and at the endpoint, which drift compares."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serving.classifier import Classifier
from serving.reference import label_counts, reference_of
from tests.conftest import hotel_rows
from tests.serving.conftest import Server, point, release

SCORES = np.array([[0.2, 0.8], [0.95, 0.05], [0.5, 0.5]], np.float32)


def test_a_single_label_answer_counts_its_best_label_and_its_confidence() -> None:
    reference = reference_of(["no", "yes"], "single_label_classification", SCORES)
    assert reference is not None
    assert (reference.rows, reference.labels) == (3, {"no": 2, "yes": 1})
    cumulative = [reference.confidence[bound] for bound in (0.4, 0.5, 0.7, 0.9, 0.95, 1.0)]
    assert cumulative == [0, 1, 1, 2, 3, 3]


def test_a_multi_label_answer_counts_each_label_from_one_half_on() -> None:
    counts = label_counts("multi_label_classification", SCORES)
    assert counts is not None
    assert counts.tolist() == [2, 2]


def test_a_regression_has_no_mix() -> None:
    assert reference_of(["stars"], "regression", SCORES[:, :1]) is None


def test_the_endpoint_counts_as_the_evaluation_did(
    tiny_model: Path, tmp_path: Path, start: Callable[..., Server]
) -> None:
    texts = [text for text, _ in hotel_rows(60)]
    classifier = Classifier.load(tiny_model)
    found = reference_of(classifier.labels, classifier.problem_type, classifier.classify(texts))
    assert found is not None
    told = found.model_dump(mode="json")
    server = start()
    server.wait_for("one")
    assert server.metric("finegate_reference_label_ratio") == 0  # its release.json tells none
    point(tmp_path / "current", release(tiny_model, tmp_path / "two", "two", reference=told))
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("two")
    for label in classifier.labels:  # counted from 0 on, before any request
        assert server.metric("finegate_predicted_labels_total", version="two", label=label) == 0
    server.post({"instances": texts})
    for label in classifier.labels:
        expected = server.metric("finegate_reference_label_ratio", version="two", label=label)
        answered = server.metric("finegate_predicted_labels_total", version="two", label=label)
        assert answered / len(texts) == pytest.approx(expected)
    for bound in ("0.4", "0.5", "0.9", "0.99", "1.0"):
        expected = server.metric("finegate_reference_confidence_ratio", version="two", le=bound)
        answered = server.metric("finegate_confidence_bucket", version="two", le=bound)
        assert answered / len(texts) == pytest.approx(expected)


def test_outcomes_that_never_occurred_are_told_as_none(server: Server) -> None:
    families = server.get("/metrics").text
    for protocol in ("v1", "v2", "grpc"):
        for outcome in ("answered", "failed", "overloaded"):
            series = f'finegate_requests_total{{outcome="{outcome}",protocol="{protocol}"}}'
            assert series in families
