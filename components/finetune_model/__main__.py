"""One training process: `torchrun ... -m components.finetune_model WORK_FOLDER`."""

import sys
from pathlib import Path

from pydantic import BaseModel

from components.console import step
from components.finetune_model.settings import TrainingSettings


class Job(BaseModel):
    """What a training process is told, in `job.json` of its work folder."""

    settings: TrainingSettings
    labels: list[str]


def main() -> None:
    """Train as the work folder says."""
    work = Path(sys.argv[1])
    job = Job.model_validate_json((work / "job.json").read_bytes())
    with step("finetune_model"):
        from transformers.utils import logging

        from components.finetune_model.training import train

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        train(work, job.settings, job.labels)


if __name__ == "__main__":
    main()
