"""One training process: `torchrun ... -m components.finetune_model WORK_FOLDER | --job JSON`."""

import argparse
import tempfile
from pathlib import Path

from components.console import step
from components.finetune_model.lifetime import die_with


def main() -> None:
    """Train as the work folder says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, nargs="?", help="folder that holds job.json")
    parser.add_argument("--job", help="the job itself, on a machine that has no such folder")
    parser.add_argument("--parent", type=int, help="process to end with")
    given = parser.parse_args()
    if given.parent is not None:
        die_with(given.parent)
    with step("finetune_model"):
        from transformers.utils import logging

        from components.finetune_model.job import Job
        from components.finetune_model.training import train
        from components.finetune_model.troubles import explained

        logging.disable_progress_bar()
        if given.job is None:
            work, job = given.work, Job.read(given.work)
        else:
            job = Job.model_validate_json(given.job)
            work = Path(tempfile.gettempdir()) / f"finegate-{job.facts['fingerprint']}"
            work.mkdir(exist_ok=True)
        with explained(job.settings):
            train(work, job)


if __name__ == "__main__":
    main()
