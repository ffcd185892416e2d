"""How many texts a GPU does a second, tokenized and in hand: in our passes, and at its best."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measuring import seconds as seconds_of
from serving.backends.pytorch import PyTorchBackend
from serving.classifier import Classifier, batches
from serving.passes import Passes

SORTED_TOKENS = 32_768


def in_our_passes(folder: Path, texts: list[str], seconds: float) -> float:
    """Texts a second of the served classifier's passes, as full as these texts make them."""
    classifier = Classifier.load(folder)
    rows = classifier.encoder.encode(texts)
    sizes = [(classifier.padded(row), len(row)) for row in rows]
    inputs = [classifier.pad([rows[i] for i in some]) for some in batches(sizes, classifier.passes)]
    return _rate(lambda: [classifier.backend.logits(each) for each in inputs], len(texts), seconds)


def in_sorted_batches(folder: Path, texts: list[str], seconds: float) -> float:
    """Texts a second of the plain model in batches of SORTED_TOKENS, sorted by length."""
    classifier = Classifier.load(folder)
    assert isinstance(classifier.backend, PyTorchBackend)
    model, encoder = classifier.backend.model, classifier.encoder
    rows = encoder.encode(texts * 8)
    sizes = [(0, len(row)) for row in rows]  # of one group: sorted by length, cut by tokens
    inputs = [
        {name: torch.from_numpy(values).cuda() for name, values in encoder.pad(batch).items()}
        for batch in (
            [rows[i] for i in some] for some in batches(sizes, Passes(SORTED_TOKENS, packs=True))
        )
    ]

    @torch.inference_mode()
    def loop() -> None:
        for each in inputs:
            model(**each)
        torch.cuda.synchronize()

    return _rate(loop, len(rows), seconds)


def _rate(loop: Callable[[], object], texts: int, seconds: float) -> float:
    loop()
    end = time.perf_counter() + seconds
    fastest = seconds_of(loop)
    while time.perf_counter() < end:
        fastest = min(fastest, seconds_of(loop))
    return texts / fastest
