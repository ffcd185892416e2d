"""The schedule file: where, and which recurring runs are to be there."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from pipelines import documents
from pipelines.cluster import Place


class Schedule(BaseModel):
    """One recurring run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    cron: str
    """Six fields, seconds first, in the API server's time zone (UTC)."""
    config: Path
    """A run's config, relative to the schedule's file."""
    set: list[str] = []
    """`key.path=value` overrides of it."""
    enabled: bool = True
    catchup: bool = False
    """Whether times that passed while it was off are made up for."""
    max_concurrency: int = 1

    @field_validator("cron")
    @classmethod
    def _has_six_fields(cls, cron: str) -> str:
        if len(cron.split()) != 6:
            raise ValueError(
                "a schedule has six fields, seconds first: '0 0 3 * * *' is every day at 03:00 UTC"
            )
        return " ".join(cron.split())


class ScheduleFile(Place):
    """The file: where, and the schedules that are to be there."""

    schedules: list[Schedule]

    @model_validator(mode="after")
    def _names_are_different(self) -> "ScheduleFile":
        names = [each.name for each in self.schedules]
        if len(set(names)) < len(names):
            raise ValueError("two schedules have the same name")
        return self


def read(path: Path) -> ScheduleFile:
    """The parsed file. Raises InputError when it is absent or does not fit."""
    document = documents.read(path, "configs/schedules has an example.")
    return documents.checked(ScheduleFile, document, str(path))
