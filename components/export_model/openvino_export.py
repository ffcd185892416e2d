"""Write a PyTorch classifier as OpenVINO IR, in fp32 or quantized to 8 bits."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.backends.base import Inputs
from serving.backends.openvino import ir, pack, packs
from serving.backends.openvino import openvino as ov
from serving.backends.pytorch import PyTorchBackend
from serving.classifier import Classifier, Floats

if TYPE_CHECKING:
    from components.export_model.packing import LastLayer

_EXAMPLES = (
    ["an", "example of another length"],
    ["alone"],
    ["with", "a row that is much longer " * 20, "and another"],
)
"""Texts of a batch each. The first is traced; the others show what of it was taken for constant."""

_FP32 = {"INFERENCE_PRECISION_HINT": "f32"}


def write_ir(reference: Classifier, folder: Path, *, exact: bool = True) -> None:
    """Write `reference`'s model to `<folder>/openvino/`, in fp32 and for inputs of any shape.

    Its layers read tokens without padding (see packing) where that gives the same logits. Unless it
    is to be computed in fp32, as `exact` says, nothing is in it that has other bits in reduced
    precision when other texts share the batch. Raises whatever the conversion raises for a model
    that it does not know.
    """

    assert isinstance(reference.backend, PyTorchBackend)
    model = reference.backend.model
    model.config.use_cache = False  # a decoder's cache is no output
    batches = [reference.encoder.pad(reference.encoder.encode(texts)) for texts in _EXAMPLES]
    expected = [reference.backend.logits(batch) for batch in batches]
    ways: tuple[LastLayer, ...] = ("folded", "first", "whole") if exact else ("first", "whole")
    tried = (_packed(model, batches, expected, last_layer) for last_layer in ways)
    converted = next(filter(None, tried), None) or _converted(model, batches[0])
    ov.save_model(converted, ir(folder), compress_to_fp16=False)


def _packed(
    model: Any, batches: list[Inputs], expected: list[Floats], last_layer: LastLayer
) -> Any:
    """The model converted with packed layers; None where it cannot be or answers otherwise."""
    from components.export_model.packing import packed

    try:
        with packed(model, last_layer) as instead:
            converted = _converted(instead, pack(batches[0]))
        compiled = ov.compile_model(converted, "CPU", _FP32)
        logits = [compiled(pack(batch))[0] for batch in batches]
    except Exception:  # noqa: BLE001 - what a model's own code raises for inputs it does not know
        return None
    agree = all(np.allclose(*pair, atol=1e-4) for pair in zip(logits, expected, strict=True))
    return converted if agree else None


def _converted(model: Any, example: Inputs) -> Any:
    import torch

    tensors = {name: torch.from_numpy(values) for name, values in example.items()}
    with warnings.catch_warnings():
        # The tracer warns of what it takes for constant; whether that holds is measured after.
        warnings.simplefilter("ignore")
        return ov.convert_model(model, example_input=tensors)


def write_int8_ir(
    reference: Classifier,
    texts: Sequence[str],
    source: Path,
    folder: Path,
    pairs: Sequence[str] | None = None,
) -> None:
    """Quantize the model in `<source>/openvino/`, which is not `exact`, to `<folder>/openvino/`.

    Weights and activations of the layers' matrix products take 8 bits; attention between tokens
    stays in floats. The ranges of activations are those seen for `texts` (with
    `pairs` as second sentences, when given). They are constants, so a text's answer does not depend
    on its batch, as it would with ranges taken from each batch.
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    encoder = reference.encoder
    model = ov.Core().read_model(ir(source))
    inputs: list[Inputs] = [encoder.pad([row]) for row in encoder.encode(texts, pairs)]
    if packs(model):
        inputs = [pack(each) for each in inputs]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,  # GELU's outputs are not symmetric around zero
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(types=["ScaledDotProductAttention"], validate=False),
    )
    ov.save_model(quantized, ir(folder), compress_to_fp16=False)
