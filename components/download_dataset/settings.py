"""How a config describes a labelled text dataset."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from components.sources.settings import HubDatasetSource, MemberPath, PyPISource, Sha256

Split = Literal["train", "validation", "test"]
Format = Literal["csv", "tsv", "jsonl", "parquet", "text"]
Places = str | dict[Split, str]
"""One place, or one for each split."""


def _text_keys(value: object) -> object:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value


class Member(BaseModel):
    """One file of an archive or distribution, and what all its rows have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: MemberPath
    label: str | None = None
    split: Split | None = None


class Bin(BaseModel):
    """A range of numbers, bounds included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float = -math.inf
    max: float = math.inf


class DatasetSettings(BaseModel):
    """A dataset: where its rows are, how they are written, and which columns mean what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub: HubDatasetSource | None = None
    path: Places | None = None
    """A local file, relative to where finegate is started."""
    url: Places | None = None
    s3: Places | None = None
    pypi: PyPISource | None = None
    sha256: Sha256 | None = None
    """Expected hash of the one file at path, url or s3."""
    member: MemberPath | None = None
    """The file in the archive at the source."""
    members: list[Member] = []
    """Several files in the archive, when each has a label or a split of its own."""

    format: Format | None = None
    """Unset: by the file's suffix."""
    encoding: str = "utf-8"
    header: bool = True
    columns: list[str] = []
    """Column names of a file without a header."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    quoting: bool = True
    """False: quotation marks are text, and a row is a line."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    split: str | None = None
    """Column that names each row's split."""
    label_names: Annotated[dict[str, str], BeforeValidator(_text_keys)] = {}
    """Name for each value of the label column; their order is the order of the model's labels."""
    label_bins: dict[str, Bin] = {}
    """Name for each range of a numeric label column; rows in none are left out and counted."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Rows to keep, drawn evenly and seeded, for a quick try."""

    @model_validator(mode="after")
    def _fits_together(self) -> "DatasetSettings":
        given = [n for n in ("hub", "path", "url", "s3", "pypi") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of hub, path, url, s3 and pypi (given: {', '.join(given) or 0})"
            )
        if self.pypi is not None and self.member is None and not self.members:
            raise ValueError("pypi needs member (or members): the file inside the distribution")
        if self.member is not None and self.members:
            raise ValueError("give member or members, not both")
        if self.label_names and self.label_bins:
            raise ValueError("give label_names or label_bins, not both")
        if not self.header and not self.columns and self.format not in ("text", None):
            raise ValueError("header: false needs columns, the names in their order")
        return self

    def label_order(self) -> list[str]:
        """Label names in the order that the config gives them; empty where it names none."""
        constant = [member.label for member in self.members if member.label is not None]
        names = [*self.label_names.values(), *self.label_bins, *constant]
        return list(dict.fromkeys(names))
