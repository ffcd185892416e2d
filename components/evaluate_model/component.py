"""KFP ports of evaluate_model."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import ClassificationMetrics, Metrics, Output

from components.images import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def evaluate_model(
    store: str,
    model: str,
    dataset: str,
    name: str,
    metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
) -> NamedTuple("Evaluations", [("candidate", str), ("champion", str)]):  # type: ignore[valid-type]  # kfp's form
    """Score the candidate and the champion on the test rows.

    Args:
        store: S3 address under which everything lies.
        model: S3 address of the exported candidate.
        dataset: S3 address of the validated dataset.
        name: Name of the model, whose champion is scored too.
        metrics: Accuracy, macro precision, recall and F1, log loss, and each class's.
        classification: Confusion matrix, and the ROC curve of two classes.

    Returns:
        S3 addresses of the candidate's and the champion's evaluation ('' without a champion).
    """
    from components.console import step
    from components.evaluate_model.artifacts import log_classification, log_metrics
    from components.evaluate_model.evaluation import evaluate
    from components.folders import existing

    with step("evaluate_model"):
        evaluations = evaluate(store, model, dataset, name)
        facts = existing(evaluations.candidate)
        log_metrics(facts, metrics)
        log_classification(facts, classification)
        return evaluations
