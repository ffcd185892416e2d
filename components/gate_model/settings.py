"""What a candidate must be worth to be promoted."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from components.findings import DataFinding
from components.label_names import LabelName

AtLeast = Literal[
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "micro_f1",
    "mcc",
    "roc_auc",
    "pr_auc",
    "r2",
    "rank_correlation",
]
AtMost = Literal["log_loss", "calibration_error", "hamming_loss", "mae", "rmse"]
ClassMetric = Literal["precision", "recall", "f1"]
Baseline = Literal["majority", "tfidf"]
Metamorphosis = Literal["spaces", "punctuation", "case", "full_width"]
Share = Annotated[float, Field(ge=0, le=1)]


class NoRegression(BaseModel):
    """The candidate may not be less accurate than the champion by more than `margin`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(default=0.02, ge=0)
    """In accuracy; for a regression in mean absolute error."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class SliceRule(BaseModel):
    """What accuracy must be in the parts that a column, the length or the label makes of the rows.

    The parts of `length` are the quarters of the test rows by number of characters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(default=50, ge=1)
    """Parts with fewer rows prove too little and are left out."""
    accuracy: Share = 0.0
    """Of every part, at least; with `confidence`, its lower bound."""
    gap: Share = 1.0
    """Between the best and the worst part, at most: fairness of slices."""


class Robustness(BaseModel):
    """Rewriting a text in a way that keeps its meaning may not change its label often.

    `spaces` doubles them and puts some around; `punctuation` adds a full stop or takes it away;
    `case` writes in lower case; `full_width` writes ASCII as East Asian keyboards do (Ａ for A).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: list[Metamorphosis] = ["spaces", "punctuation", "case"]
    flips: Share = 0.05
    """Share of rows, by rule, whose label may change."""
    rows: int = Field(default=300, ge=1)


class ServingCheck(BaseModel):
    """The real predictor must reproduce the evaluation, in time and within memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(default=32, ge=1, le=1000)
    tolerance: float = Field(default=1e-5, gt=0)
    """Largest difference of a probability from the evaluation's."""
    p99_ms: float = Field(default=1000, gt=0)
    """99th percentile of the latency of single texts, sent one after the other."""
    memory_mb: float = Field(default=2000, gt=0)
    """The most resident memory the predictor may have taken by then; k8s/base gives it 2 GiB."""


class GateSettings(BaseModel):
    """The gate's rules; each is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum: dict[AtLeast, float] = {}
    maximum: dict[AtMost, float] = {}
    classes: dict[LabelName, dict[ClassMetric, float]] = {}
    """Minimum precision, recall or F1 of a class, by its label."""
    confidence: float = Field(default=0, ge=0, lt=1)
    """0 compares what was observed; 0.95 the bound that the truth is beyond with 95 % confidence:
    the lower one for a minimum, the upper one for a maximum. It needs single labels."""
    beat: dict[Baseline, float] = {"majority": 0.0}
    """By how much accuracy must exceed a baseline's, or the MAE of a regression stay under it;
    `majority: 0` asks for more than nothing."""
    slices: dict[str, SliceRule] = {}
    """By a column of the test rows, `length` or `label`."""
    robustness: Robustness | None = None
    data: dict[DataFinding, Share] = {}
    """Largest share of rows with a finding of validate_dataset, such as `{conflicts: 0.02}`."""
    champion: NoRegression | None = NoRegression()
    serving: ServingCheck | None = ServingCheck()
    """null leaves this check out, as it does `champion`; so does false, since kfp refuses null."""
    allow_label_change: bool = False
    """A candidate with other labels than the champion's cannot be compared with it."""
    approve: Literal["auto", "manual"] = "auto"
    """`manual`: what passes waits until `finegate approve RUN`."""

    @field_validator("champion", "serving", mode="before")
    @classmethod
    def _left_out(cls, given: Any) -> Any:
        return None if given is False else given
