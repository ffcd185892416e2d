"""The CPU backend: the model as OpenVINO IR, in fp32, in bf16, or with 8-bit matrix products."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.backends.base import PAD_TO_MULTIPLE_OF, Inputs
from serving.cores import available_cores, have_a_core_each
from serving.errors import InputError
from serving.settings import BackendName

# Importing openvino reports so to its maker over the network, unless this package is absent.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python marks it so

import openvino as openvino  # noqa: E402 - after the line above; re-exported

BATCH_TOKENS = 512
"""More did not speed up the two cores that were measured, and keeps others waiting."""

MAX_LANES = 4
KEPT, KEPT_REDUCED = (4, 1), (16, 4)
"""A packed model is given a multiple of so many tokens, and of a text alone, whose shapes are few.

OpenVINO keeps what it makes for each shape: the larger the multiple, the less memory. In fp32 it
makes little for one, in reduced precision code and buffers."""


class OpenVINOBackend:
    """A model in `<folder>/openvino/`, as components/export_model writes it.

    It is compiled twice: once for a pass alone, which takes all cores for the least latency, and
    once for lanes with their own cores. Small batches leave most of a pass's second core waiting
    for its first, and whatever else runs on one of them delays both; lanes do not wait.
    """

    def __init__(self, folder: Path, name: BackendName = "openvino", threads: int = 0) -> None:
        """Load and compile the model; `threads` 0 takes one for each core.

        With `openvino-int8`, what is not in 8 bits is in bf16 where that can be, else in fp32.
        Raises InputError when the folder holds no such model, and for `openvino-bf16` where bf16
        cannot be.
        """
        document = ir(folder)
        if not document.is_file():
            raise InputError(
                f"{folder} is to be served by {name}, and {document} is absent. Export the model "
                "again, or delete its serving.json to serve it with PyTorch."
            )
        threads = threads or available_cores()
        self.lanes = min(threads, MAX_LANES)
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # else bf16 on CPUs that have it
            # While a pass runs. Left to itself, Linux lets two of these threads share a core for
            # milliseconds while the other core idles.
            "ENABLE_CPU_PINNING": have_a_core_each(threads),
        }
        try:
            model = _core().read_model(document)
            self.packs, not_bf16 = packs(model), why_not_bf16(model)
            if name == "openvino-bf16" and not_bf16:
                raise InputError(
                    f"{folder} is to be served by {name}, and {not_bf16}. Serve it on nodes with "
                    "AMX or AVX512_BF16, or export it again."
                )
            if name != "openvino" and not not_bf16:
                settings["INFERENCE_PRECISION_HINT"] = "bf16"
            whole = _core().compile_model(model, "CPU", {**settings, "NUM_STREAMS": "1"})
            self._whole, self._requests = whole.create_infer_request(), []
            if self.lanes > 1:
                parts = {**settings, "NUM_STREAMS": str(self.lanes)}
                compiled = _core().compile_model(model, "CPU", parts)
                self._requests = [compiled.create_infer_request() for _ in range(self.lanes)]
        except RuntimeError as error:
            raise InputError(
                f"OpenVINO cannot load {document} ({error}). Export the model again."
            ) from error
        self.name: BackendName = name
        self.batch_tokens = BATCH_TOKENS
        self.pad_to_multiple_of = PAD_TO_MULTIPLE_OF
        self.records = False
        self._kept, self._kept_alone = KEPT if name == "openvino" else KEPT_REDUCED

    def logits(self, inputs: Inputs, lane: int | None = None) -> npt.NDArray[np.float32]:
        """Logits of shape [batch, outputs] for inputs of shape [batch, tokens]."""
        request = self._whole if lane is None or self.lanes == 1 else self._requests[lane]
        if self.packs:
            alone = len(inputs["attention_mask"]) == 1
            inputs = pack(inputs, self._kept_alone if alone else self._kept)
        logits: npt.NDArray[np.float32] = request.infer(inputs, share_inputs=True)[0].copy()
        return logits


def has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 itself, with AMX or AVX512_BF16."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def why_not_bf16(model: openvino.Model) -> str | None:
    """Why a model is not computed in bf16 here; None where it can be."""
    if not has_bf16():
        return "this CPU does not compute in bf16"
    if not packs(model):
        return "bf16 is for encoders: compiling small decoders in it ends the process by SIGFPE"
    return None


def packs(model: openvino.Model) -> bool:
    """Whether a model's layers read tokens without padding (components.export_model.packing)."""
    return any("kept" in each.get_names() for each in model.inputs)


def pack(inputs: Inputs, multiple: int = 1) -> Inputs:
    """`inputs` with two more, by which a packed model leaves out padding and puts it back.

    Of all tokens in one line, `kept` names those that are no padding, and then the first again up
    to a `multiple`; `places` has for each token its place among the kept, for padding any.
    """
    mask = inputs["attention_mask"]
    found = np.flatnonzero(mask)
    kept = np.zeros(-(-len(found) // multiple) * multiple, found.dtype)  # np.pad is slow
    kept[: len(found)] = found
    places = np.maximum(np.cumsum(mask) - 1, 0).reshape(mask.shape)
    return {**inputs, "kept": kept, "places": places}


@functools.cache
def _core() -> openvino.Core:
    """One for the process, never freed.

    A core gives the thread that makes it a stack for signal handlers, and takes the memory back on
    whatever thread frees it. Freed by another thread than its maker, as after a reload, it leaves
    the maker without a stack, and the next SIGHUP or SIGTERM kills the process without a word.
    """
    return openvino.Core()


def ir(folder: Path) -> Path:
    """Where the model lies in a folder; its weights are beside it, in model.bin."""
    return folder / "openvino" / "model.xml"
