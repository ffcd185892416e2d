"""The reference backend: the Hugging Face model itself, in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForSequenceClassification

from serving.errors import InputError


class PyTorchBackend:
    """A `*ForSequenceClassification` model on CPU in fp32."""

    name = "pytorch"

    def __init__(self, folder: Path) -> None:
        """Load the model from a Hugging Face folder.

        Raises InputError when the folder has no loadable model, or when a weight of the model is
        absent from it: transformers would fill it with random numbers and only warn.
        """
        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                dtype=torch.float32,
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
        self._model = model.eval()

    @torch.inference_mode()
    def logits(self, inputs: dict[str, torch.Tensor]) -> npt.NDArray[np.float32]:
        """Logits of shape [batch, outputs] for int64 inputs of shape [batch, tokens]."""
        output = self._model(**inputs).logits
        logits: npt.NDArray[np.float32] = output.float().cpu().numpy()
        return logits
