"""The scored test rows of a run: texts and predictions, the champion's beside the candidate's."""

from dataclasses import dataclass

import pandas as pd

from components import folders

PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class Scored:
    """Test rows with what was predicted for them.

    `rows` has the test rows' columns (text, label and so on) and predicted and probabilities
    (float32 list in the order of `labels`). `champion` has the champion's predicted and
    probabilities (in the order of its own labels) under the same index, or is None.
    """

    rows: pd.DataFrame
    champion: pd.DataFrame | None
    labels: list[str]
    problem_type: str


def scored(dataset: str, evaluation: str, champion_evaluation: str) -> Scored:
    """Read the test rows and the predictions of both evaluations of them."""
    facts = folders.existing(evaluation)
    test = folders.read_table(dataset, "test.parquet")
    predictions = folders.read_table(evaluation, PREDICTIONS)
    rows = test.drop(columns="label").reset_index(drop=True)
    rows[["label", "predicted", "probabilities"]] = predictions[
        ["label", "predicted", "probabilities"]
    ]
    champion = None
    if champion_evaluation:
        champion = folders.read_table(
            champion_evaluation, PREDICTIONS, ["predicted", "probabilities"]
        )
    return Scored(rows, champion, facts["labels"], facts["problem_type"])
