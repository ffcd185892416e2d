"""Tokenizer + model + probabilities: the classifier that the gate scores and the endpoint wraps."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import AutoConfig, PretrainedConfig

from serving import huge_pages
from serving.backends.base import Backend, Inputs
from serving.encoding import Encoded, Encoder
from serving.errors import InputError
from serving.families import READ_PADDING
from serving.passes import Filling, Passes
from serving.settings import OPENVINO, BackendName, LongTexts, serving_settings

Floats = npt.NDArray[np.float32]

LONGEST_TRIED = 1024
"""Tokens of a warm-up's longest text: some models take texts for which a node has no memory."""


class Classifier:
    """Text in, named probabilities out."""

    def __init__(
        self,
        encoder: Encoder,
        backend: Backend,
        config: PretrainedConfig,
        long_texts: LongTexts = "truncate",
    ) -> None:
        """Raises InputError for a model that reads padding behind a backend that records lengths.

        Elsewhere its texts are not padded: those of one length share a pass.
        """
        self._reads_padding = config.model_type in READ_PADDING
        if self._reads_padding and backend.records:
            raise InputError(
                f"a {config.model_type} answers by how far a text is padded, so {backend.name} "
                "would need a recording for each length. Export it with device: cpu."
            )
        self.encoder = encoder
        self.backend = backend
        self.config = config
        self.labels = labels_of(config)
        self.problem_type = problem_type_of(config)
        self.long_texts = long_texts
        self.passes = Passes(backend.batch_tokens, backend.packs)

    @classmethod
    def load(cls, folder: Path, threads: int = 0) -> Classifier:
        """Load a Hugging Face folder, to be served as its serving.json says, else with PyTorch.

        `threads` of the forward pass; 0 takes one for each core. Raises InputError when a part is
        absent or does not fit the others.
        """
        try:
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder} is not a Hugging Face model folder ({error}). Give a folder with "
                "config.json, the weights and the tokenizer, as save_pretrained() writes it."
            ) from error
        settings = serving_settings(folder)
        encoder = Encoder.from_folder(folder, config)
        backend = load_backend(settings.backend, folder, threads)
        return cls(encoder, backend, config, settings.long_texts)

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, first: int = 0
    ) -> list[list[Encoded]]:
        """The windows of each text: one, unless the model reads long texts in windows.

        Text pairs are always truncated: over which of the two a window should move is not known.
        Raises InputError for a text of no tokens, of which no model tells anything; messages count
        texts from `first` on.
        """
        if self.long_texts == "window" and pairs is None:
            found = self.encoder.windows(texts)
        else:
            found = [[row] for row in self.encoder.encode(texts, pairs)]
        for place, windows in enumerate(found, first):
            if not len(windows[0]):
                raise InputError(
                    f"text {place} (counted from 0) has no tokens: it is empty, or has only what "
                    "the model's tokenizer leaves out. Leave it out."
                )
        return found

    def logits(self, rows: Sequence[Encoded], lane: int | None = None) -> Floats:
        """Logits of shape [len(rows), outputs], in the order given; for `lane` see Backend."""
        result = np.empty((len(rows), len(self.labels)), dtype=np.float32)
        sizes = [(self.padded(row), len(row)) for row in rows]
        for indices in batches(sizes, self.passes):
            inputs = self.pad([rows[index] for index in indices])
            result[indices] = self.backend.logits(inputs, lane)
        return result

    def warm_up(self) -> None:
        """Do what is done once, so that nobody who asks waits for it and takes it for the speed.

        Backends that record do so for each padded length, up to a full pass. The others lay out
        their weights in each lane's first pass, and then weights stay where they are: in huge
        pages. One lane after another, since openvino's first calls in a process have deadlocked
        over the GIL when two threads made them at once.
        """
        [row] = self.encoder.encode(["warm-up " * self.encoder.max_length])
        longest, step = min(len(row), self.passes.tokens), self._multiple
        if self.backend.records:
            self.logits([row.cut(length) for length in range(1, longest + 1, step)])
            return
        self.logits([row.cut(LONGEST_TRIED)])  # where positions end before the text, it fails here
        full = [row.cut(64)] * (self.passes.tokens // 64)  # for buffers of their full size
        for lane in (None, *range(self.backend.lanes)):
            self.logits(full, lane)
        huge_pages.collapse()

    @property
    def _multiple(self) -> int:
        return 1 if self._reads_padding else self.backend.pad_to_multiple_of

    def padded(self, row: Encoded) -> int:
        """Tokens of a row after padding, when it is alone."""
        return self.encoder.padded(row, self._multiple)

    def pad(self, rows: Sequence[Encoded]) -> Inputs:
        """The backend's inputs, each of shape [len(rows), tokens]: the longest row's `padded`."""
        return self.encoder.pad(rows, self._multiple)

    def probabilities(self, logits: Floats) -> Floats:
        """Apply the problem's own function to logits [N, C]: the only place where that is done.

        Softmax for a single label, sigmoid for multi-label, identity for regression; the same
        choice as transformers' TextClassificationPipeline. A model trained with a Softmax layer
        before its cross-entropy loss is squeezed twice: leave that layer out of the model.
        """
        if self.problem_type == "regression":
            return logits
        if self.problem_type == "multi_label_classification":
            sigmoids: Floats = np.exp(-np.logaddexp(np.float32(0), -logits))
            return sigmoids
        exponents = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float32)
        shares: Floats = exponents / exponents.sum(axis=-1, keepdims=True)
        return shares

    def classify(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Floats:
        """Probabilities of shape [len(texts), len(labels)], columns in the order of `labels`."""
        encoded = self.encode(texts, pairs)
        scores = self.probabilities(self.logits([row for windows in encoded for row in windows]))
        if not len(scores):
            return scores
        ends = np.cumsum([len(windows) for windows in encoded])
        means = [part.mean(axis=0) for part in np.split(scores, ends[:-1])]
        return np.stack(means, dtype=np.float32)


def load_backend(name: BackendName, folder: Path, threads: int = 0) -> Backend:
    """The backend `name` of a model's folder, imported only when it is the one asked for.

    Raises InputError when the folder cannot be served so.
    """
    if name in OPENVINO:
        from serving.backends.openvino import OpenVINOBackend

        return OpenVINOBackend(folder, name, threads)
    if sys.modules.get("torch", True) is None:
        raise InputError(
            f"{folder} is to be served by {name}, and this process began without PyTorch, for a "
            "release that OpenVINO serves. Start it anew."
        )
    from serving.backends.pytorch import PyTorchBackend

    return PyTorchBackend(folder, name, threads)


def batches(sizes: Sequence[tuple[int, int]], passes: Passes) -> Iterator[list[int]]:
    """Group row numbers to forward passes, by the rows' tokens with padding and without."""
    groups: dict[int, list[int]] = {}
    for row in sorted(range(len(sizes)), key=lambda row: sizes[row]):
        groups.setdefault(passes.group(sizes[row][0]), []).append(row)
    for rows in groups.values():
        batch: list[int] = []
        filling = Filling(passes)
        for row in rows:
            if not filling.takes(*sizes[row]):
                yield batch
                batch, filling = [], Filling(passes)
                filling.takes(*sizes[row])
            batch.append(row)
        yield batch


def labels_of(config: PretrainedConfig) -> tuple[str, ...]:
    """Label names in the order of the model's outputs, from `id2label` in config.json."""
    names = {int(key): str(value) for key, value in (config.id2label or {}).items()}
    if sorted(names) != list(range(len(names))) or len(set(names.values())) != len(names):
        raise InputError(
            f"config.json names the labels {names}; ids must run from 0 without a gap and names "
            "must differ. Mend id2label in config.json."
        )
    return tuple(names[index] for index in range(len(names)))


def problem_type_of(config: PretrainedConfig) -> str:
    """The model's `problem_type`, read as transformers' TextClassificationPipeline reads it."""
    if config.problem_type == "regression":
        return "regression"
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return "multi_label_classification"
    return "single_label_classification"
