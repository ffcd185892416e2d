"""What to do about each kind of bad row, and how to cut the splits."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rule = Literal["fail", "drop", "warn"]


class SplitSettings(BaseModel):
    """Fractions cut from the rows when the source gives no such split: stratified and seeded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.1, gt=0, lt=0.5)
    seed: int = 42

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> "SplitSettings":
        if self.validation + self.test > 0.8:
            raise ValueError("validation and test together may take at most 0.8 of the rows")
        return self


class ValidationSettings(BaseModel):
    """A rule for each finding: `fail` stops the run, `drop` repairs and counts, `warn` reports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    missing_text: Literal["fail", "drop"] = "drop"
    missing_label: Literal["fail", "drop"] = "drop"
    duplicates: Rule = "drop"
    """The same text with the same label again: the first row stays."""
    conflicts: Rule = "drop"
    """The same text with different labels: all its rows go, since none can be trusted."""
    leakage: Rule = "drop"
    """A training or validation text that is also in the test split: it leaves the former."""
    splits: SplitSettings = SplitSettings()
