"""How a candidate is to be served."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.settings import LongTexts


class ExportSettings(BaseModel):
    """Settings of export_model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Literal["cpu", "gpu"] = "cpu"
    """Where the predictor runs."""
    precision: Literal["exact", "reduced"] = "exact"
    """`exact` admits what equals PyTorch in fp32; `reduced` also 8 bits (CPU) and bf16."""
    long_texts: LongTexts = "truncate"
    rows: int = Field(default=1000, ge=1)
    """Test rows on which a backend is compared with PyTorch."""
    calibration_rows: int = Field(default=300, ge=1)
    """Training rows from which the ranges of 8-bit values are taken."""
    tolerance: float = Field(default=1e-5, gt=0)
    """Largest difference of a probability that `exact` allows; for a regression it is multiplied by
    the largest value, where that is above 1."""
    accuracy_loss: float = Field(default=0.005, ge=0)
    """By how much accuracy on the compared rows may fall under `reduced`."""
    flips: float = Field(default=0.01, ge=0)
    """Part of the compared rows whose label may change under `reduced`."""
