"""How a model's folder is to be served: its backend, and what becomes of long texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import InputError

SERVING = "serving.json"

BackendName = Literal[
    "pytorch", "pytorch-cuda", "pytorch-cuda-bf16", "openvino", "openvino-bf16", "openvino-int8"
]
"""PyTorch is the reference, fp32 unless the name says otherwise."""

OPENVINO: frozenset[BackendName] = frozenset({"openvino", "openvino-bf16", "openvino-int8"})

LongTexts = Literal["truncate", "reject", "window"]
"""Of a text beyond the maximum length: read its beginning, answer 400, or read overlapping windows
and take the mean of their probabilities."""


class ServingSettings(BaseModel):
    """The document serving.json in a model's folder; a plain Hugging Face folder has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: BackendName = "pytorch"
    long_texts: LongTexts = "truncate"
    why: str = ""
    """Why this backend, in one sentence."""
    tried: list[dict[str, Any]] = []
    """For each backend tried how far it agreed with the reference, and whether it was admitted."""


def serving_settings(folder: Path) -> ServingSettings:
    """Read serving.json; the defaults where there is none. Raises InputError when it is unfit."""
    document = folder / SERVING
    if not document.is_file():
        return ServingSettings()
    try:
        return ServingSettings.model_validate_json(document.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{document} does not say how to serve the model ({error}). Export the model again, or "
            "delete the file to serve it with PyTorch."
        ) from error
