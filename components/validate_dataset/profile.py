"""What a split's rows are like: labels, lengths, scripts."""

from typing import Any

import numpy as np
import pandas as pd

from components.problem_types import REGRESSION
from components.validate_dataset.labels import counts
from components.validate_dataset.texts import script


def profile(rows: pd.DataFrame, problem_type: str) -> dict[str, Any]:
    """Rows, rows by label (or the numbers' distribution), text lengths in characters, scripts.

    `characters.histogram` counts texts of 1, 2-3, 4-7, 8-15, ... characters.
    """
    lengths = rows["text"].str.len()
    doublings = np.log2(lengths.clip(lower=1)).astype(int)
    labels: dict[str, Any] = {"labels": counts(rows, problem_type)}
    if problem_type == REGRESSION:
        values = rows["label"].astype(float)
        labels["numbers"] = {
            "mean": float(values.mean()),
            "deviation": float(values.std(ddof=0)),
            "least": float(values.min()),
            "most": float(values.max()),
        }
    scripts = rows["text"].map(script).value_counts()
    return {
        "rows": len(rows),
        **labels,
        "characters": {
            "shortest": int(lengths.min()),
            "p5": float(lengths.quantile(0.05)),
            "median": float(lengths.median()),
            "p95": float(lengths.quantile(0.95)),
            "longest": int(lengths.max()),
            "histogram": np.bincount(doublings).tolist(),
        },
        "scripts": {name or "none": int(count) for name, count in scripts.items()},
    }
