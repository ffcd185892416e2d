"""What a report may show."""

from pydantic import BaseModel, ConfigDict


class ReportSettings(BaseModel):
    """Settings of report_run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    show_texts: bool = True
    """The most confident mistakes with their texts, and words that drifted. Off, no text of the
    dataset is in the page: mistakes are named by file and row."""
