"""Accuracy in parts of the test rows: by a column, by length, by label."""

import pandas as pd

from components.gate_model.bounds import share_lower
from components.gate_model.settings import SliceRule
from components.gate_model.verdict import Check
from components.outcomes import length_quarters
from serving.errors import InputError


def slice_checks(
    right: "pd.Series[bool]", rows: pd.DataFrame, by: str, rule: SliceRule, confidence: float
) -> list[Check]:
    """A check for each part that is large enough, and one of the gap between the best and worst.

    `right` and `rows` (the test rows) share an index. Raises InputError for a column that the test
    rows do not have.
    """
    parts = right.groupby(_parts(rows, by)).agg(["sum", "size"])
    large = parts[parts["size"] >= rule.rows]
    checks = []
    if rule.accuracy:
        side = ", lower bound" if confidence else ""
        checks = [
            Check.of(
                f"accuracy where {by} is {name}{side}",
                share_lower(part["sum"], part["size"], confidence)
                if confidence
                else part["sum"] / part["size"],
                ">=",
                rule.accuracy,
            )
            for name, part in large.iterrows()
        ]
    if rule.gap < 1 and len(large) > 1:
        shares = large["sum"] / large["size"]
        checks.append(
            Check.of(
                f"gap in accuracy by {by}",
                float(shares.max() - shares.min()),
                "<=",
                rule.gap,
                f"accuracy is {shares.max():.4f} where {by} is {shares.idxmax()} and "
                f"{shares.min():.4f} where it is {shares.idxmin()}; they may be {rule.gap:g} apart",
            )
        )
    return checks


def _parts(rows: pd.DataFrame, by: str) -> "pd.Series[str]":
    if by == "length":
        return length_quarters(rows["text"])
    if by not in rows:
        raise InputError(
            f"gate.slices names the column {by}, and the test rows have {', '.join(rows.columns)} "
            "(and length). Name one of those."
        )
    return rows[by].astype(str)
