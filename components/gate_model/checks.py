"""The gate's rules over evaluations: each gives one check."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from components.gate_model.settings import GateSettings, NoRegression
from components.gate_model.verdict import Check
from serving.errors import InputError

RESAMPLES = 10_000


def absolute(facts: dict[str, Any], settings: GateSettings) -> list[Check]:
    """Metrics against their own bounds, and accuracy against the baselines'."""
    metrics = facts["metrics"]
    unknown = sorted(set(settings.classes) - set(metrics["classes"]))
    if unknown:
        raise InputError(
            f"gate.classes names {', '.join(unknown)}, but the model's labels are "
            f"{', '.join(metrics['classes'])}. Use those names."
        )
    checks = [_bound(name, metrics[name], ">=", bound) for name, bound in settings.minimum.items()]
    checks += [_bound(name, metrics[name], "<=", bound) for name, bound in settings.maximum.items()]
    for label, bounds in settings.classes.items():
        checks += [
            _bound(f"{name} of {label}", metrics["classes"][label][name], ">=", bound)
            for name, bound in bounds.items()
        ]
    for name, margin in settings.beat.items():
        baseline = facts["baselines"][name]["accuracy"]
        checks.append(_bound(f"accuracy over {name}", metrics["accuracy"], ">", baseline + margin))
    return checks


def no_regression(
    candidate_right: npt.NDArray[np.bool_],
    champion_right: npt.NDArray[np.bool_],
    rule: NoRegression,
) -> Check:
    """Is the candidate's accuracy on the same rows not worse by more than the margin?

    The lower confidence bound of the paired difference comes from a bootstrap over rows (Efron
    and Tibshirani 1993, chapter 13): resampling rows resamples the counts of "only the candidate
    is right" and "only the champion is right", which are multinomial. Seeded, so reproducible.
    """
    rows = len(candidate_right)
    won = int((candidate_right & ~champion_right).sum())
    lost = int((~candidate_right & champion_right).sum())
    shares = np.array([won, lost, rows - won - lost]) / rows
    draws = np.random.default_rng(0).multinomial(rows, shares, size=RESAMPLES)
    differences = (draws[:, 0] - draws[:, 1]) / rows
    lower = float(np.quantile(differences, 1 - rule.confidence))
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


def _bound(
    name: str, observed: float | None, relation: Literal[">=", "<=", ">"], bound: float
) -> Check:
    if observed is None:
        return Check(
            name=name,
            observed=None,
            relation=relation,
            bound=bound,
            passed=False,
            why=f"{name} is undefined on these test rows",
        )
    passed = {">=": observed >= bound, "<=": observed <= bound, ">": observed > bound}[relation]
    return Check(
        name=name,
        observed=observed,
        relation=relation,
        bound=bound,
        passed=passed,
        why=f"{name} is {observed:.4f} and must be {relation} {bound:.4g}",
    )
