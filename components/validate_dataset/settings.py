"""What to do about each kind of defect, and how to cut the splits."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.findings import Judgement, Rule


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


class Thresholds(BaseModel):
    """From where on something is a finding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    similarity: float = Field(default=0.8, ge=0.6, le=1)
    """Jaccard similarity of two texts' character 3-grams that makes them near-duplicates."""
    characters: int = Field(default=3, ge=1)
    """A text with fewer is short."""
    boilerplate: float = Field(default=0.01, gt=0, le=1)
    """Share of the texts in which a phrase of eight words (characters, in Chinese) recurs."""
    script: float = Field(default=0.05, gt=0, le=0.5)
    """A script that fewer texts than this share are written in is foreign."""
    imbalance: float = Field(default=20, gt=1)
    """Rows of the largest class for one of the smallest."""


class DriftSettings(BaseModel):
    """When the training texts count as others than the champion's.

    Both must hold: the test's p-value, corrected for the number of tests, is below `alpha`, and
    the effect is at least as large as the bound. Large datasets make any difference significant.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Judgement = "warn"
    alpha: float = Field(default=0.01, gt=0, lt=1)
    label: float = Field(default=0.05, gt=0, lt=1)
    """Share of rows that would need another label (total variation distance)."""
    length: float = Field(default=0.1, gt=0, lt=1)
    """Largest distance between the two cumulative distributions of text lengths."""
    vocabulary: float = Field(default=0.6, gt=0.5, lt=1)
    """ROC-AUC of a classifier that tells held-out texts of the two datasets apart by their words;
    0.5 is a coin."""
    rows: int = Field(default=4_000, ge=100)
    """Texts of each dataset that the vocabulary test looks at, drawn evenly and seeded."""


class ValidationSettings(BaseModel):
    """A rule for each finding: `ignore`, `warn` (report), `repair` (and count), or `fail`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    missing_text: Literal["repair", "fail"] = "repair"
    missing_label: Literal["repair", "fail"] = "repair"
    broken_text: Rule = "warn"
    """Control characters or U+FFFD, the sign of a failed decoding. Repair drops the row."""
    short_text: Rule = "warn"
    foreign_script: Rule = "warn"
    boilerplate: Judgement = "warn"
    """Not to be cut out here: the endpoint would see texts that training never saw."""
    conflicts: Rule = "repair"
    """The same text with different labels: all its rows go, since none can be trusted."""
    duplicates: Rule = "repair"
    """The same text with the same label again: the first row stays."""
    leakage: Rule = "repair"
    """A text that also is in the test split (or, for training, in validation) leaves."""
    near_leakage: Rule = "repair"
    """The same for texts that are nearly those of the test split."""
    near_duplicates: Rule = "repair"
    """Texts that are nearly the same. Repair keeps them in one split; none is dropped."""
    sorted_by_label: Judgement = "warn"
    """Splits are always drawn at random, so a sorted file does no harm here."""
    imbalance: Judgement = "warn"
    thresholds: Thresholds = Thresholds()
    splits: SplitSettings = SplitSettings()
    drift: DriftSettings = DriftSettings()
