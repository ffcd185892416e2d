"""Write a PyTorch classifier as OpenVINO IR, in fp32 or quantized to 8 bits."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from serving.backends.base import Inputs
from serving.backends.openvino import ir
from serving.backends.openvino import openvino as ov
from serving.backends.pytorch import PyTorchBackend
from serving.classifier import Classifier


def write_ir(reference: Classifier, folder: Path) -> None:
    """Write `reference`'s model to `<folder>/openvino/`, in fp32 and for inputs of any shape.

    Raises whatever the conversion raises for a model that it does not know.
    """
    import torch

    assert isinstance(reference.backend, PyTorchBackend)
    example = reference.encoder.pad(reference.encoder.encode(["an example", "and another"]))
    tensors = {name: torch.from_numpy(values) for name, values in example.items()}
    reference.backend.model.config.use_cache = False  # a decoder's cache is no output
    with warnings.catch_warnings():
        # The tracer warns of what it takes for constant; whether that holds is measured after.
        warnings.simplefilter("ignore")
        converted = ov.convert_model(reference.backend.model, example_input=tensors)
    ov.save_model(converted, ir(folder), compress_to_fp16=False)


def write_int8_ir(reference: Classifier, texts: Sequence[str], source: Path, folder: Path) -> None:
    """Quantize the model in `<source>/openvino/` to `<folder>/openvino/`.

    Weights and activations of matrix products take 8 bits; the ranges of activations are those
    seen for `texts`. The ranges are constants, so a text's answer does not depend on its batch,
    as it would with ranges taken from each batch.
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    encoder = reference.encoder
    inputs: list[Inputs] = [encoder.pad([row]) for row in encoder.encode(texts)]
    quantized = nncf.quantize(
        ov.Core().read_model(ir(source)),
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,  # GELU's outputs are not symmetric around zero
        subset_size=len(inputs),
    )
    ov.save_model(quantized, ir(folder), compress_to_fp16=False)
