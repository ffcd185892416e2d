"""KFP ports of report_run."""

from kfp import dsl
from kfp.dsl import HTML, Output

from components.images import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def report_run(
    store: str,
    run: str,
    job: str,
    dataset: str,
    drift: str,
    decision: str,
    settings: dict,
    page: Output[HTML],
) -> None:
    """Draw the run as one page.

    Args:
        store: S3 address under which everything lies.
        run: Id of the run, or '' for that of the KFP run, whose verdict is reported.
        job: Id of the KFP run.
        dataset: S3 address of the validated dataset.
        drift: S3 address of the comparison with the champion's dataset, or ''.
        decision: The gate's decision; it makes the report wait for the gate.
        settings: ReportSettings.
        page: The report.
    """
    from pathlib import Path

    from components.console import step
    from components.report_run.report import report
    from components.report_run.settings import ReportSettings

    with step("report_run"):
        shown = ReportSettings.model_validate(settings)
        Path(page.path).write_bytes(report(store, run or job, dataset, drift, shown))
