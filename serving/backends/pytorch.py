"""The reference backend: the Hugging Face model itself, in PyTorch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForSequenceClassification

from serving.backends import cuda
from serving.backends.base import PAD_TO_MULTIPLE_OF, Inputs
from serving.cores import available_cores
from serving.errors import InputError
from serving.settings import BackendName

CPU_BATCH_TOKENS = 512
"""More did not speed up the two cores that were measured, and keeps others waiting."""


class PyTorchBackend:
    """A `*ForSequenceClassification` model; scaled-dot-product attention where the model has it."""

    def __init__(self, folder: Path, name: BackendName = "pytorch", threads: int = 0) -> None:
        """Load the model from a Hugging Face folder.

        `threads` 0 takes torch's own number, which heeds OMP_NUM_THREADS and hyperthreads, but no
        more than one for each core that the container grants, of which torch knows nothing.

        Raises InputError when the folder has no loadable model, when a weight of the model is
        absent from it (transformers would fill it with random numbers and only warn), or when
        the backend needs a GPU and there is none.
        """
        on_gpu = name.startswith("pytorch-cuda")
        if on_gpu and not torch.cuda.is_available():
            raise InputError(
                f"{folder} is to be served by {name}, and torch finds no CUDA device here. Serve "
                "it on a GPU node with the predictor-gpu image, or export it with device: cpu."
            )
        torch.set_num_threads(threads or min(torch.get_num_threads(), available_cores()))
        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                dtype=torch.bfloat16 if name == "pytorch-cuda-bf16" else torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{folder} holds no text classifier that transformers can load ({error}). Give a "
                "folder with config.json and model.safetensors, as save_pretrained() writes it."
            ) from error
        absent = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
        if absent:
            raise InputError(
                f"the model in {folder} lacks weights for {', '.join(absent)}; they would be "
                "random. A classifier must be saved with its head: fine-tune it first, or save it "
                "with save_pretrained() of the class that its config names."
            )
        self.name: BackendName = name
        self.batch_tokens = cuda.TOKENS if on_gpu else CPU_BATCH_TOKENS
        self.pad_to_multiple_of = cuda.PAD_TO_MULTIPLE_OF if on_gpu else PAD_TO_MULTIPLE_OF
        self.packs = False  # the reference is the model as it is
        self.records = on_gpu
        self.lanes = 1
        self.model = model.eval()
        self._on_gpu: cuda.FixedPasses | None = None
        if on_gpu:
            cuda.exact_arithmetic()
            # The cores are free while the GPU computes, and tokenizing takes longer than it does.
            os.environ["TOKENIZERS_PARALLELISM"] = "true"
            self._on_gpu = cuda.FixedPasses(self.model.cuda())

    @torch.inference_mode()
    def logits(self, inputs: Inputs, lane: int | None = None) -> npt.NDArray[np.float32]:
        """Logits of shape [batch, outputs] for inputs of shape [batch, tokens]."""
        if self._on_gpu is not None:
            return self._on_gpu.logits(inputs)
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        logits: npt.NDArray[np.float32] = self.model(**tensors).logits.numpy()
        return logits
