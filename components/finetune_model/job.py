"""What the training processes are told, in `job.json` of their work folder."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.finetune_model.settings import TrainingSettings
from components.problem_types import ProblemType

FILE = "job.json"


class Job(BaseModel):
    """One training, on however many processes and machines."""

    model_config = ConfigDict(frozen=True)

    settings: TrainingSettings
    labels: list[str]
    problem: ProblemType = "single_label_classification"
    tokenized: str
    """S3 address of the tokenized dataset."""
    base_model: str
    """S3 address of the base model."""
    checkpoints: str
    """S3 prefix of this training's checkpoints."""
    curves: str
    """S3 prefix of its curves while it runs."""
    result: str
    """S3 address of the fine-tuned model."""
    facts: dict[str, Any]
    """What the result's manifest says besides what training finds out."""

    def write(self, work: Path) -> None:
        """Write it to the work folder."""
        (work / FILE).write_text(self.model_dump_json(), encoding="utf-8")

    @classmethod
    def read(cls, work: Path) -> "Job":
        """Read it from the work folder."""
        return cls.model_validate_json((work / FILE).read_bytes())
