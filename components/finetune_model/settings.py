"""Hyperparameters of fine-tuning, checked before anything starts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingSettings(BaseModel):
    """Settings of finetune_model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: float = Field(default=3.0, gt=0)
    learning_rate: float = Field(default=5e-5, gt=0, lt=1)
    batch_size: int = Field(default=32, ge=1)
    """Rows in one optimizer step over all processes, so that the number of GPUs does not change
    the result."""
    rows_per_device: int = Field(default=32, ge=1)
    """Rows that one device takes at once; what is missing to `batch_size` is accumulated."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    evaluations: int = Field(default=4, ge=1)
    """Times the validation split is scored, evenly over the run; the best score's weights win."""
    best_metric: Literal["accuracy", "macro_f1", "loss"] = "macro_f1"
    seed: int = 42
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 where the hardware computes in it."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """DeepSpeed ZeRO: 0 shards nothing, 1 optimizer states, 2 gradients too, 3 weights too."""
    processes: int | None = Field(default=None, ge=1)
    """Processes on this machine; unset is one a GPU, and two on a machine without."""
