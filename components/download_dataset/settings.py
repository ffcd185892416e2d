"""How a config describes a labelled text dataset."""

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from components.download_dataset.labels import Bin, plain
from components.label_names import LabelName
from components.problem_types import ProblemType
from components.sources.settings import HubDatasetSource, MemberPath, PyPISource, Sha256

Split = Literal["train", "validation", "test"]
Format = Literal["csv", "tsv", "jsonl", "parquet", "text"]
Places = str | dict[Split, str]
"""One place, or one for each split."""


def _plain_keys(value: object) -> object:
    return {plain(key): item for key, item in value.items()} if isinstance(value, dict) else value


class Member(BaseModel):
    """One file of an archive, distribution or folder, and what all its rows have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: MemberPath
    label: LabelName | None = None
    split: Split | None = None


class DatasetSettings(BaseModel):
    """A dataset: where its rows are, how they are written, and which columns mean what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub: HubDatasetSource | None = None
    path: Places | None = None
    """A local file, relative to where finegate is started; `*` stands for any characters. A
    folder together with `member` or `members`."""
    url: Places | None = None
    """An https:// address; one that ends in `/` together with `member` or `members`."""
    s3: Places | None = None
    """`s3://bucket/key`; `*` in the last part matches several; ending in `/` as for url."""
    pypi: PyPISource | None = None
    sha256: Sha256 | None = None
    """Expected hash of the one file at path, url or s3."""
    member: MemberPath | None = None
    """The file in the archive or folder at the source."""
    members: list[Member] = []
    """Several files there, each with a label or a split of its own."""

    format: Format | None = None
    """Unset: by the file's suffix, without .gz."""
    encoding: str = "utf-8"
    header: bool = True
    columns: list[str] = []
    """Column names of a file without a header, or instead of the header's."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    quoting: bool = True
    """False: quotation marks are text, and a row is a line."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    split: str | None = None
    """Column that names each row's split: train, validation (dev, val, valid) or test."""
    group: str | None = None
    """Column whose equal values stay in one split: the same hotel, the same author."""
    problem_type: ProblemType = "single_label_classification"
    """Transformers' own words. Regression takes numbers as labels; with several labels a row, the
    column holds lists, or texts with `label_separator` between the names."""
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    label_names: Annotated[dict[str, LabelName], BeforeValidator(_plain_keys)] = {}
    """Name for each value of the label column."""
    label_bins: dict[LabelName, Bin] = {}
    """Name for each range of a numeric label column; rows in none are left out and counted."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Rows to keep, drawn evenly and seeded, for a quick try."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "DatasetSettings":
        given = [n for n in ("hub", "path", "url", "s3", "pypi") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of hub, path, url, s3 and pypi (given: "
                f"{', '.join(given) or 'none'})"
            )
        if self.member is not None and self.members:
            raise ValueError("give member or members, not both")
        inside = self.member is not None or bool(self.members)
        if self.pypi is not None and not inside:
            raise ValueError("pypi needs member (or members): the file inside the distribution")
        if self.hub is not None and inside:
            raise ValueError("hub takes no member: a hub dataset is loaded whole, by hub.splits")
        place = self.path or self.url or self.s3
        if self.sha256 is not None and (not isinstance(place, str) or "*" in place):
            raise ValueError("sha256 pins one file: one path, url or s3 without a pattern")
        return self

    @model_validator(mode="after")
    def _names_columns_that_are_there(self) -> "DatasetSettings":
        if not self.header and not self.columns and self.format != "text":
            raise ValueError("header: false needs columns, the names in their order")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("columns names a column twice; a column that is not used needs a name")
        labelled = any(member.label is not None for member in self.members)
        absent = [n for n in self.wanted_columns(labelled=labelled) if n not in self.columns]
        if self.columns and absent:
            raise ValueError(
                f"columns lacks {', '.join(absent)}; set text, label and the like to names in it"
            )
        return self

    @model_validator(mode="after")
    def _gives_each_label_one_name(self) -> "DatasetSettings":
        if self.label_names and self.label_bins:
            raise ValueError("give label_names or label_bins, not both")
        bins = self._bins_upward()
        for (low, below), (high, above) in pairwise(bins):
            if above.min <= below.max:
                raise ValueError(
                    f"label_bins {low} and {high} overlap at {above.min:g}; bounds are included, "
                    "so end one before the other begins"
                )
        return self

    @model_validator(mode="after")
    def _has_labels_of_its_kind(self) -> "DatasetSettings":
        several = self.problem_type == "multi_label_classification"
        if self.label_separator is not None and not several:
            raise ValueError("label_separator goes with problem_type: multi_label_classification")
        if several and self.label_bins:
            raise ValueError("label_bins makes one label of a number, not several")
        constant = any(member.label is not None for member in self.members)
        if self.problem_type == "regression" and (self.label_names or self.label_bins or constant):
            raise ValueError(
                "problem_type: regression learns the numbers themselves; leave label_names, "
                "label_bins and labels of members out"
            )
        return self

    def wanted_columns(self, *, labelled: bool) -> list[str]:
        """Columns to read of a file; a `labelled` one has its label in the config."""
        label = None if labelled else self.label
        columns = (self.text, self.text_pair, label, self.split, self.group)
        return [name for name in columns if name is not None]

    def label_order(self) -> list[str]:
        """Label names that the config gives, by rising value, range or place; empty for none.

        A mapping's own order is lost on its way through KFP, which has unordered structs.
        """
        constant = [member.label for member in self.members if member.label is not None]
        named = [name for _, name in sorted(self.label_names.items(), key=_by_number)]
        binned = [name for name, _ in self._bins_upward()]
        return list(dict.fromkeys([*named, *binned, *constant]))

    def _bins_upward(self) -> list[tuple[str, Bin]]:
        return sorted(self.label_bins.items(), key=lambda item: item[1].min)


def _by_number(item: tuple[str, str]) -> tuple[float, str]:
    try:
        return float(item[0]), item[0]
    except ValueError:
        return math.inf, item[0]
