"""The gate's rules over evaluations: each gives one check."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from components.gate_model.bounds import paired_differences
from components.gate_model.metric_bounds import MetricBounds
from components.gate_model.settings import GateSettings, NoRegression
from components.gate_model.verdict import Check
from serving.errors import InputError


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
    bounds = MetricBounds(facts, rows, settings.confidence)
    checks = [
        Check.of(bounds.title(name, "lower"), bounds.lower(name), ">=", limit)
        for name, limit in settings.minimum.items()
    ]
    checks += [
        Check.of(bounds.title(name, "upper"), bounds.upper(name), "<=", limit)
        for name, limit in settings.maximum.items()
    ]
    for label, limits in settings.classes.items():
        checks += [
            Check.of(
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
            Check.of(f"mae under {name}", metrics["mae"], "<", baseline["mae"] - margin)
            if "mae" in metrics
            else Check.of(
                f"accuracy over {name}", metrics["accuracy"], ">", baseline["accuracy"] + margin
            )
        )
    return checks


def no_regression(
    candidate: npt.NDArray[Any],
    champion: npt.NDArray[Any],
    rule: NoRegression,
    *,
    left_out: int = 0,
) -> Check:
    """Is the candidate not worse on the same rows by more than the margin?

    Takes what each scores row by row: right or wrong (bool), or how far off (float, the more the
    worse); `left_out` tells of rows that the champion learned from. Right or wrong goes by the
    paired bootstrap of the counts of rows where one alone is right; distances by the one-sided
    paired t interval. A model that is truly worse by the margin passes at most at the rate
    1 - confidence.
    """
    rows = f"the same {len(candidate)} rows"
    if left_out:
        rows += f" (without {left_out} from which the champion learned)"
    if candidate.dtype != np.bool_:
        return _no_longer_distance(candidate, champion, rule, rows)
    won = int((candidate & ~champion).sum())
    lost = int((~candidate & champion).sum())
    lower = float(np.quantile(paired_differences(won, lost, len(candidate)), 1 - rule.confidence))
    proven = "at most" if lower >= -rule.margin else "not proven to be at most"
    return Check.of(
        "accuracy against champion, lower bound",
        lower,
        ">=",
        -rule.margin,
        f"on {rows} the candidate is right where the champion is wrong {won} "
        f"times and wrong where it is right {lost} times; with {rule.confidence:.0%} confidence "
        f"its accuracy is {proven} {rule.margin:.3g} lower",
    )


def nothing_new(rows: int) -> Check:
    """A champion that learned from every test row cannot be compared with; this does not pass."""
    return Check.of(
        "test rows that are new to the champion",
        0,
        ">",
        0,
        f"the champion learned from each of the {rows} test rows, so they do not tell which of the "
        "two is better; give test rows of their own (dataset.split), cut them as the champion's "
        "were (validation.splits), or leave the comparison out (gate.champion: null)",
    )


def _no_longer_distance(
    candidate: npt.NDArray[Any], champion: npt.NDArray[Any], rule: NoRegression, rows: str
) -> Check:
    further = candidate - champion
    upper = float(further.mean())
    if np.ptp(further) > 0:
        test = stats.ttest_1samp(further, 0.0, alternative="less")
        upper = float(test.confidence_interval(rule.confidence).high)
    return Check.of(
        "mean absolute error against champion, upper bound",
        upper,
        "<=",
        rule.margin,
        f"on {rows} the candidate is off by {further.mean():+.3g} more "
        f"than the champion, with {rule.confidence:.0%} confidence by {upper:.3g} at most",
    )


def findings(dataset: dict[str, Any], settings: GateSettings) -> list[Check]:
    """The shares of rows with findings of validate_dataset; one that was not made has none."""
    found = {each["name"]: each["count"] for each in dataset.get("findings", [])}
    kept = sum(split["rows"] for split in dataset.get("splits", {}).values())
    dropped = sum(e["count"] for e in dataset.get("findings", []) if e["action"] == "dropped")
    total = dataset.get("rows") or max(kept + dropped, 1)
    return [
        Check.of(f"share of rows with {name}", found.get(name, 0) / total, "<=", limit)
        for name, limit in settings.data.items()
    ]


def same_labels(candidate: list[str], champion: list[str], *, allowed: bool) -> Check:
    """A candidate with other labels than the champion's is not comparable, and breaks clients."""
    gone, new = sorted(set(champion) - set(candidate)), sorted(set(candidate) - set(champion))
    change = "; ".join(
        f"{what} {', '.join(names)}" for what, names in (("without", gone), ("new", new)) if names
    )
    changed = float(len(gone) + len(new))
    return Check.of(
        "labels changed",
        changed,
        "<=",
        changed if allowed else 0.0,
        f"the candidate's labels are not the champion's ({change})"
        + ("" if allowed else "; --allow-label-change (gate.allow_label_change) lets it pass"),
    )
