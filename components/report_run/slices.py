"""Candidate and champion in parts of the test rows: by label, by length, by the data's columns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.outcomes import QUARTERS, length_quarters, outcomes
from components.report_run.intervals import Interval, mean_difference, paired_difference
from components.report_run.scored import Scored

OWN = {"row", "file", "text", "text_pair", "label", "predicted", "probabilities", "split"}
MOST_PARTS = 12
"""A column with more values than this is no way to slice."""


@dataclass(frozen=True)
class Slice:
    """One part of the test rows.

    The figures are accuracies; of a regression, mean absolute errors, where less is better.
    """

    by: str
    name: str
    rows: int
    candidate: float
    compared: int
    """Those of the rows that the champion did not learn from; 0 without a champion."""
    champion: float | None
    difference: Interval | None
    """Candidate minus champion on the rows compared; None without any."""


def slices(scored: Scored) -> list[Slice]:
    """All rows, then every part of them."""
    rows = scored.rows
    ours = outcomes(rows["label"], rows["predicted"]).to_numpy()
    theirs, new = np.zeros_like(ours), np.zeros(len(rows), dtype=bool)
    if scored.champion is not None and len(scored.champion):
        new = rows.index.isin(scored.champion.index)
        theirs[new] = outcomes(rows["label"][new], scored.champion["predicted"])
    compare = mean_difference if scored.problem_type == "regression" else paired_difference
    found = []
    for by, name, part in _parts(scored):
        both = part & new
        if part.any():
            found.append(
                Slice(
                    by=by,
                    name=name,
                    rows=int(part.sum()),
                    candidate=float(ours[part].mean()),
                    compared=int(both.sum()),
                    champion=float(theirs[both].mean()) if both.any() else None,
                    difference=compare(ours[both], theirs[both]) if both.any() else None,
                )
            )
    return found


def _parts(scored: Scored) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    rows = scored.rows
    yield "all", "all rows", np.ones(len(rows), dtype=bool)
    if scored.problem_type == "single_label_classification":
        for label in scored.labels:
            yield "label", label, (rows["label"] == label).to_numpy(dtype=bool)
    elif scored.problem_type == "multi_label_classification":
        for label in scored.labels:
            yield "label", label, np.array([label in each for each in rows["label"]])
    if len(rows) >= 2 * len(QUARTERS):
        quarter = length_quarters(rows["text"])
        for name in QUARTERS:
            yield "length", name, (quarter == name).to_numpy(dtype=bool)
    for column in rows.columns:
        values = rows[column].dropna().astype(str) if column not in OWN else pd.Series(dtype=str)
        if 1 < values.nunique() <= MOST_PARTS:
            for value in sorted(values.unique()):
                part = (rows[column].astype(str) == value) & rows[column].notna()
                yield str(column), value, part.to_numpy(dtype=bool)
