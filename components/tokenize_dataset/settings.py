"""How long an encoded text may be, and how to build a vocabulary where the model has none."""

from pydantic import BaseModel, ConfigDict, Field

from components.findings import Judgement


class VocabularySettings(BaseModel):
    """A Unigram vocabulary of the training texts, for a base model that has no tokenizer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=12_000, ge=100, le=500_000)
    lowercase: bool = True


class TokenThresholds(BaseModel):
    """From which share on something is a finding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    truncated: float = Field(default=0.2, ge=0, le=1)
    """Training texts that are cut."""
    unknown: float = Field(default=0.1, ge=0, le=1)
    """Unknown tokens among the training texts' own."""


class TokenizationSettings(BaseModel):
    """Settings of tokenize_dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_length: int = Field(default=128, ge=4)
    """Tokens a text keeps, special tokens included. It is recorded in the tokenizer's files, so
    the endpoint cuts texts at the same place."""
    vocabulary: VocabularySettings = VocabularySettings()
    truncated: Judgement = "warn"
    unknown: Judgement = "fail"
    """Many unknown tokens mean a tokenizer for another language: a model cannot read them."""
    thresholds: TokenThresholds = TokenThresholds()
