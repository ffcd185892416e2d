"""Tokenizer + model + probabilities: the classifier that the gate scores and the endpoint wraps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, PretrainedConfig

from serving.backends.base import Backend
from serving.backends.pytorch import PyTorchBackend
from serving.encoding import Encoded, Encoder, usable_length
from serving.errors import InputError

Floats = npt.NDArray[np.float32]

BATCH_TOKENS = 2048
"""Padded tokens in one forward pass: fills 2 to 8 cores, and keeps a batch's latency low."""


class Classifier:
    """Text in, named probabilities out."""

    def __init__(self, encoder: Encoder, backend: Backend, config: PretrainedConfig) -> None:
        self.encoder = encoder
        self.backend = backend
        self.labels = labels_of(config)
        self.problem_type = problem_type_of(config)

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Load a Hugging Face folder: model, tokenizer and label names.

        Raises InputError when a part is absent or does not fit the others.
        """
        try:
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder} is not a Hugging Face model folder ({error}). Give a folder with "
                "config.json, the weights and the tokenizer, as save_pretrained() writes it."
            ) from error
        encoder = Encoder.from_folder(folder, usable_length(config))
        return cls(encoder, PyTorchBackend(folder), config)

    def logits(self, rows: Sequence[Encoded]) -> Floats:
        """Logits of shape [len(rows), outputs], in the order given.

        Rows are batched by length: padding is the larger part of a naive batch's cost.
        """
        result = np.empty((len(rows), len(self.labels)), dtype=np.float32)
        for indices in batches([len(row) for row in rows], BATCH_TOKENS):
            inputs = self.encoder.pad([rows[index] for index in indices])
            result[indices] = self.backend.logits(inputs)
        return result

    def probabilities(self, logits: Floats) -> Floats:
        """Apply the problem's own function to logits [N, C]: the only place where that is done.

        Softmax for a single label, sigmoid for multi-label, identity for regression; the same
        choice as transformers' TextClassificationPipeline. A model trained with a Softmax layer
        before its cross-entropy loss is squeezed twice: leave that layer out of the model.
        """
        values = torch.from_numpy(logits)
        if self.problem_type == "regression":
            return logits
        if self.problem_type == "multi_label_classification":
            return np.asarray(torch.sigmoid(values).numpy(), dtype=np.float32)
        return np.asarray(torch.softmax(values, dim=-1).numpy(), dtype=np.float32)

    def classify(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Floats:
        """Probabilities of shape [len(texts), len(labels)], columns in the order of `labels`."""
        return self.probabilities(self.logits(self.encoder.encode(texts, pairs)))


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Group row numbers by length: rows x longest stays within `tokens`, with one row at least."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        if batch and (len(batch) + 1) * lengths[index] > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
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
