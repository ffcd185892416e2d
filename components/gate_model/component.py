"""KFP ports of gate_model."""

from kfp import dsl
from kfp.dsl import Markdown, Output

from components.images import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def gate_model(
    store: str,
    name: str,
    run: str,
    job: str,
    model: str,
    dataset: str,
    evaluation: str,
    champion_evaluation: str,
    settings: dict,
    verdict: Output[Markdown],
) -> str:
    """Judge the candidate by the rules.

    Args:
        store: S3 address under which everything lies.
        name: Name of the model.
        run: Id of the run, or '' for that of the KFP run; the verdict lies under it.
        job: Id of the KFP run.
        model: S3 address of the exported candidate.
        dataset: S3 address of the validated dataset.
        evaluation: S3 address of the candidate's evaluation.
        champion_evaluation: S3 address of the champion's evaluation, or ''.
        settings: GateSettings.
        verdict: The verdict as a table.

    Returns:
        accepted, rejected, unchanged or waiting.
    """
    from pathlib import Path

    from components.console import step
    from components.gate_model.gate import judge
    from components.gate_model.settings import GateSettings
    from components.gate_model.verdict import as_markdown

    with step("gate_model"):
        result = judge(
            store,
            name=name,
            run=run or job,
            model=model,
            dataset=dataset,
            evaluation=evaluation,
            champion_evaluation=champion_evaluation,
            settings=GateSettings.model_validate(settings),
        )
        Path(verdict.path).write_text(as_markdown(result))
        return result.decision
