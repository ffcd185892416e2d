"""How fast backends are, side by side on the machine that chooses one."""

import time
from collections.abc import Sequence

import numpy as np

from components.export_model.agreement import Rows
from serving.classifier import Classifier

ROWS = 128
"""Rows that are timed, or fewer: several full passes."""
ROUNDS = 3


def texts_per_second(classifiers: Sequence[Classifier], rows: Rows) -> list[float]:
    """Texts a second of each classifier, on the first of `rows`.

    They take turns: a host that changes its speed meanwhile changes it for all of them.
    """
    texts, pairs = rows.texts[:ROWS], rows.pairs[:ROWS] if rows.pairs else None
    seconds = np.zeros((1 + ROUNDS, len(classifiers)))
    for turns in seconds:
        for place, classifier in enumerate(classifiers):
            began = time.perf_counter()
            classifier.classify(texts, pairs)
            turns[place] = time.perf_counter() - began
    # The first round makes kernels for the passes' shapes, and is not counted.
    return [len(texts) / each for each in seconds[1:].mean(axis=0).tolist()]
