"""The CPU backend: the model as OpenVINO IR, in fp32 or with 8-bit matrix products."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.backends.base import Inputs
from serving.errors import InputError
from serving.settings import BackendName

# Importing openvino reports so to its maker over the network, unless this package is absent.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python marks it so

import openvino as openvino  # noqa: E402 - after the line above; re-exported

BATCH_TOKENS = 512
"""More does not speed up a CPU of 2 to 8 cores (benchmarks/README.md), and keeps others waiting."""


class OpenVINOBackend:
    """A model in `<folder>/openvino/`, as components/export_model writes it."""

    def __init__(self, folder: Path, name: BackendName = "openvino", threads: int = 0) -> None:
        """Load and compile the model; `threads` 0 takes one for each core.

        Raises InputError when the folder holds no such model.
        """
        document = ir(folder)
        if not document.is_file():
            raise InputError(
                f"{folder} is to be served by {name}, and {document} is absent. Export the model "
                "again, or delete its serving.json to serve it with PyTorch."
            )
        settings = {
            "PERFORMANCE_HINT": "LATENCY",  # one request at a time, on all threads
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # else bf16 on CPUs that have it
            "ENABLE_CPU_PINNING": False,  # the event loop and other containers use these cores too
        }
        try:
            model = _core().read_model(document)
            self._request = _core().compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise InputError(
                f"OpenVINO cannot load {document} ({error}). Export the model again."
            ) from error
        self.name: BackendName = name
        self.batch_tokens = BATCH_TOKENS

    def logits(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Logits of shape [batch, outputs] for inputs of shape [batch, tokens]."""
        logits: npt.NDArray[np.float32] = self._request.infer(inputs, share_inputs=True)[0].copy()
        return logits


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
