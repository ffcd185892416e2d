"""The gate's rules over evaluations: each gives one check."""

import operator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from components.gate_model.bounds import (
    class_lower,
    count_draws,
    paired_differences,
    row_draws,
    share_lower,
)
from components.gate_model.settings import GateSettings, NoRegression
from components.gate_model.verdict import Check
from serving.errors import InputError

SINGLE = "single_label_classification"
COUNTED = ("balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "mcc")


def absolute(facts: dict[str, Any], rows: pd.DataFrame, settings: GateSettings) -> list[Check]:
    """Metrics against their own bounds, and accuracy (or MAE) against the baselines'.

    `facts` is the evaluation's manifest, `rows` its predictions. Raises InputError for a rule that
    does not fit the model: a class or a metric that it does not have.
    """
    metrics = facts["metrics"]
    unknown = sorted(set(settings.classes) - set(metrics["classes"]))
    if unknown:
        raise InputError(
            f"gate.classes names {', '.join(unknown)}, but the model's labels are "
            f"{', '.join(metrics['classes'])}. Use those names."
        )
    foreign = sorted({*settings.minimum, *settings.maximum} - set(metrics))
    if foreign:
        raise InputError(
            f"the gate has a bound for {', '.join(foreign)}, which a {facts['problem_type']} does "
            f"not have. Its metrics are {', '.join(sorted(set(metrics) - {'classes'}))}."
        )
    bounds = _Bounds(facts, rows, settings.confidence)
    checks = [
        bound(bounds.title(name, "lower"), bounds.lower(name), ">=", limit)
        for name, limit in settings.minimum.items()
    ]
    checks += [
        bound(bounds.title(name, "upper"), bounds.upper(name), "<=", limit)
        for name, limit in settings.maximum.items()
    ]
    for label, limits in settings.classes.items():
        checks += [
            bound(
                bounds.title(f"{name} of {label}", "lower"),
                bounds.lower_of_class(name, label),
                ">=",
                limit,
            )
            for name, limit in limits.items()
        ]
    for name, margin in settings.beat.items():
        if name not in facts["baselines"]:
            if "beat" in settings.model_fields_set:
                raise InputError(
                    f"gate.beat names {name}, which was not learned: the dataset has no training "
                    "rows. Take it out of gate.beat."
                )
            continue
        baseline = facts["baselines"][name]
        checks.append(
            bound(f"mae under {name}", metrics["mae"], "<", baseline["mae"] - margin)
            if "mae" in metrics
            else bound(
                f"accuracy over {name}", metrics["accuracy"], ">", baseline["accuracy"] + margin
            )
        )
    return checks


def no_regression(
    candidate: npt.NDArray[Any], champion: npt.NDArray[Any], rule: NoRegression
) -> Check:
    """Is the candidate not worse on the same rows by more than the margin?

    Takes what each scores row by row: right or wrong (bool), or how far off (float, the more the
    worse). Right or wrong goes by the paired bootstrap of the counts of rows where one alone is
    right; distances by the one-sided paired t interval. A model that is truly worse by the margin
    passes at most at the rate 1 - confidence.
    """
    rows = len(candidate)
    if candidate.dtype != np.bool_:
        return _no_longer_distance(candidate, champion, rule)
    won = int((candidate & ~champion).sum())
    lost = int((~candidate & champion).sum())
    lower = float(np.quantile(paired_differences(won, lost, rows), 1 - rule.confidence))
    passed = lower >= -rule.margin
    return Check(
        name="accuracy against champion, lower bound",
        observed=lower,
        relation=">=",
        bound=-rule.margin,
        passed=passed,
        why=f"on the same {rows} rows the candidate is right where the champion is wrong {won} "
        f"times and wrong where it is right {lost} times; with {rule.confidence:.0%} confidence "
        f"its accuracy is {'at most' if passed else 'not proven to be at most'} "
        f"{rule.margin:.3g} lower",
    )


def _no_longer_distance(
    candidate: npt.NDArray[Any], champion: npt.NDArray[Any], rule: NoRegression
) -> Check:
    further = candidate - champion
    upper = float(further.mean())
    if np.ptp(further) > 0:
        test = stats.ttest_1samp(further, 0.0, alternative="less")
        upper = float(test.confidence_interval(rule.confidence).high)
    return Check(
        name="mean absolute error against champion, upper bound",
        observed=upper,
        relation="<=",
        bound=rule.margin,
        passed=upper <= rule.margin,
        why=f"on the same {len(candidate)} rows the candidate is off by {further.mean():+.3g} more "
        f"than the champion, with {rule.confidence:.0%} confidence by {upper:.3g} at most",
    )


def findings(dataset: dict[str, Any], settings: GateSettings) -> list[Check]:
    """The shares of rows with findings of validate_dataset; one that was not made has none."""
    found = {each["name"]: each["count"] for each in dataset.get("findings", [])}
    kept = sum(split["rows"] for split in dataset.get("splits", {}).values())
    dropped = sum(e["count"] for e in dataset.get("findings", []) if e["action"] == "dropped")
    total = dataset.get("rows") or max(kept + dropped, 1)
    return [
        bound(f"share of rows with {name}", found.get(name, 0) / total, "<=", limit)
        for name, limit in settings.data.items()
    ]


def same_labels(candidate: list[str], champion: list[str], *, allowed: bool) -> Check:
    """A candidate with other labels than the champion's is not comparable, and breaks clients."""
    gone, new = sorted(set(champion) - set(candidate)), sorted(set(candidate) - set(champion))
    change = "; ".join(
        f"{what} {', '.join(names)}" for what, names in (("without", gone), ("new", new)) if names
    )
    return Check(
        name="labels changed",
        observed=float(len(gone) + len(new)),
        relation="<=",
        bound=float(len(gone) + len(new)) if allowed else 0.0,
        passed=allowed,
        why=f"the candidate's labels are not the champion's ({change})"
        + ("" if allowed else "; --allow-label-change (gate.allow_label_change) lets it pass"),
    )


def bound(
    name: str, observed: float | None, relation: Literal[">=", "<=", ">", "<"], limit: float
) -> Check:
    """One number against one bound; what is undefined does not pass."""
    if observed is None:
        return Check(
            name=name,
            observed=None,
            relation=relation,
            bound=limit,
            passed=False,
            why=f"{name} is undefined on these test rows",
        )
    passed = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}[relation](
        observed, limit
    )
    return Check(
        name=name,
        observed=observed,
        relation=relation,
        bound=limit,
        passed=passed,
        why=f"{name} is {observed:.4f} and must be {relation} {limit:.4g}",
    )


class _Bounds:
    """The number of a metric to compare: what was observed, or its confidence bound."""

    def __init__(self, facts: dict[str, Any], rows: pd.DataFrame, confidence: float) -> None:
        self._metrics, self._labels = facts["metrics"], facts["labels"]
        self._rows, self._confidence = rows, confidence
        if confidence and facts["problem_type"] != SINGLE:
            raise InputError(
                f"gate.confidence needs single labels, and this is a {facts['problem_type']}. "
                "Take it out: what was observed is compared then."
            )
        self._counts = count_draws(self._metrics["confusion"]) if confidence else {}

    def title(self, name: str, side: str) -> str:
        return f"{name}, {side} bound" if self._confidence else name

    def lower(self, name: str) -> float | None:
        return self._at(name, 1 - self._confidence)

    def upper(self, name: str) -> float | None:
        return self._at(name, self._confidence)

    def lower_of_class(self, name: str, label: str) -> float:
        if not self._confidence:
            return float(self._metrics["classes"][label][name])
        return class_lower(
            self._metrics["confusion"], self._labels.index(label), name, self._confidence
        )

    def _at(self, name: str, quantile: float) -> float | None:
        observed: float | None = self._metrics[name]
        if not self._confidence or observed is None:
            return observed
        if name == "accuracy":
            return share_lower(observed * len(self._rows), len(self._rows), self._confidence)
        if name in COUNTED:
            return float(np.quantile(self._counts[name], quantile))
        truth = self._rows["label"].map(self._labels.index).to_numpy(dtype=np.int64)
        probabilities = np.stack(self._rows["probabilities"].to_list()).astype(np.float64)
        return float(np.quantile(row_draws(truth, probabilities, name), quantile))
