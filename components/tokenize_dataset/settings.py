"""How long an encoded text may be, and how to build a vocabulary where the model has none."""

from pydantic import BaseModel, ConfigDict, Field


class VocabularySettings(BaseModel):
    """A Unigram vocabulary of the training texts, for a base model that has no tokenizer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=12_000, ge=100, le=500_000)
    lowercase: bool = True


class TokenizationSettings(BaseModel):
    """Settings of tokenize_dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_length: int = Field(default=128, ge=4)
    """Tokens a text keeps, special tokens included. It is recorded in the tokenizer's files, so
    the endpoint cuts texts at the same place."""
    vocabulary: VocabularySettings = VocabularySettings()
