"""Forward passes on a GPU, all of one shape for each length, recorded as CUDA graphs."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from serving.backends.base import Inputs

logger = logging.getLogger("finegate")

TOKENS = 1024
"""Tokens of a pass, padding included. With more a GPU does more in all, but a text alone waits for
them too, and the host, which tokenizes and answers, seldom feeds it as fast as it computes."""

PAD_TO_MULTIPLE_OF = 32
"""A pass takes as long for few texts as for many: with multiples of 64 more of those that come
together share one, with 16 less is wasted once so many wait that all are full."""

_DEVICE = threading.Lock()
"""One pass or recording at a time, of all releases in the process: while a reload records, nothing
else may be launched into its recording."""


def exact_arithmetic() -> None:
    """Let this process multiply fp32 as fp32, not TF32, and sum products of bf16 in fp32."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


class FixedPasses:
    """A model's passes: TOKENS // length rows for each length, filled up where there are fewer.

    Libraries choose a kernel by the shape of its inputs, and each kernel rounds otherwise: in bf16
    the number of texts in a pass would change what each of them is answered. Of one shape, a text
    has the same bits in any pass. A replayed graph also launches a whole pass at once, where Python
    launches each kernel.

    A model whose code waits for values on the GPU cannot be recorded. It runs as it is, in passes
    of the same shape.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._passes: dict[int, _Pass] = {}
        self._memory = torch.cuda.graph_pool_handle()  # no two graphs run at once: they share it

    def logits(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Logits of shape [rows, outputs] for any number of rows; safe from several threads.

        The first pass of a length records its graph, which takes as long as some passes do.
        """
        rows, tokens = inputs["input_ids"].shape
        with _DEVICE:
            if tokens not in self._passes:
                self._passes[tokens] = _Pass(self._model, inputs, self._memory)
            fixed = self._passes[tokens]
            parts = [
                fixed.run({name: values[at : at + fixed.rows] for name, values in inputs.items()})
                for at in range(0, rows, fixed.rows)
            ]
        return np.concatenate(parts)


class _Pass:
    """The pass of one length, with buffers of its own.

    The buffers have a row more than texts, of one token and padding: without any padding in its
    inputs a model that is not recorded would leave out the mask, and so take other kernels.
    """

    def __init__(self, model: torch.nn.Module, example: Inputs, memory: Any) -> None:
        self._model = model
        tokens = example["input_ids"].shape[1]
        self.rows = max(1, TOKENS // tokens)
        self._host = {
            name: torch.zeros((self.rows + 1, tokens), dtype=torch.int64, pin_memory=True)
            for name in example
        }
        for name, values in example.items():
            self._host[name].numpy()[:] = values[0]
        mask = self._host["attention_mask"]
        mask[-1], mask[-1, 0] = 0, 1
        self._device = {name: values.cuda() for name, values in self._host.items()}
        self._graph: torch.cuda.CUDAGraph | None = torch.cuda.CUDAGraph()
        self._output = self._forward()
        try:
            self._record(self._graph, memory)
        except RuntimeError as error:
            logger.warning("the model cannot be recorded as a CUDA graph: %s", error)
            self._graph = None

    @torch.inference_mode()
    def _record(self, graph: torch.cuda.CUDAGraph, memory: Any) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what libraries set up at a first call is not recorded
            output = self._forward(self.rows)
            with torch.cuda.graph(
                graph, pool=memory, stream=stream, capture_error_mode="thread_local"
            ):
                output.copy_(self._forward(self.rows))
        torch.cuda.current_stream().wait_stream(stream)
        self._output = output

    @torch.inference_mode()
    def _forward(self, rows: int | None = None) -> torch.Tensor:
        inputs = {name: values[:rows] for name, values in self._device.items()}
        logits: torch.Tensor = self._model(**inputs).logits
        return logits.float()

    @torch.inference_mode()
    def run(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Logits of shape [n, outputs] for n rows, of which there are `rows` at most."""
        count = len(inputs["input_ids"])
        for name, values in inputs.items():
            row = self._host[name].numpy()
            row[:count] = values
            row[count : self.rows] = values[0]
            self._device[name].copy_(self._host[name], non_blocking=True)
        if self._graph is None:
            self._output = self._forward()
        else:
            self._graph.replay()
        logits: npt.NDArray[np.float32] = self._output[:count].cpu().numpy()
        return logits
