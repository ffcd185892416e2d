"""What a candidate must be worth to be promoted."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

AtLeast = Literal[
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "mcc",
    "roc_auc",
]
AtMost = Literal["log_loss"]
ClassMetric = Literal["precision", "recall", "f1"]
Baseline = Literal["majority", "tfidf"]


class NoRegression(BaseModel):
    """The candidate may not be less accurate than the champion by more than `margin`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(default=0.02, ge=0, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class ServingCheck(BaseModel):
    """The real predictor must reproduce the evaluation, in time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(default=32, ge=1, le=1000)
    tolerance: float = Field(default=1e-5, gt=0)
    """Largest difference of a probability from the evaluation's."""
    p99_ms: float = Field(default=1000, gt=0)
    """99th percentile of the latency of single texts, sent one after the other."""


class GateSettings(BaseModel):
    """The gate's rules; each is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum: dict[AtLeast, float] = {}
    maximum: dict[AtMost, float] = {}
    classes: dict[str, dict[ClassMetric, float]] = {}
    """Minimum precision, recall or F1 of a class, by its label."""
    beat: dict[Baseline, float] = {"majority": 0.0}
    """By how much accuracy must exceed a baseline's; `majority: 0` asks for more than nothing."""
    champion: NoRegression | None = NoRegression()
    serving: ServingCheck | None = ServingCheck()
