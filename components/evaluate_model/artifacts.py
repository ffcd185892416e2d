"""The evaluation as KFP artifacts, which its run page draws."""

from typing import Any, Protocol


class _Metrics(Protocol):
    def log_metric(self, metric: str, value: float) -> None: ...


class _ClassificationMetrics(Protocol):
    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...
    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...


def log_metrics(facts: dict[str, Any], artifact: _Metrics) -> None:
    """Log every metric that is one number, and each class's as `<metric>_<label>`."""
    for name, value in facts["metrics"].items():
        if isinstance(value, int | float):
            artifact.log_metric(name, value)
    for label, values in facts["metrics"]["classes"].items():
        for name, value in values.items():
            artifact.log_metric(f"{name}_{label}", value)
    for baseline, values in facts["baselines"].items():
        for name, value in values.items():
            artifact.log_metric(f"baseline_{baseline}_{name}", value)


def log_classification(facts: dict[str, Any], artifact: _ClassificationMetrics) -> None:
    """Log the confusion matrix of single labels, and the ROC curve where there are two."""
    if "confusion" in facts["metrics"]:
        artifact.log_confusion_matrix(facts["labels"], facts["metrics"]["confusion"])
    if facts["roc"] is not None:
        roc = facts["roc"]
        artifact.log_roc_curve(roc["fpr"], roc["tpr"], roc["thresholds"])
