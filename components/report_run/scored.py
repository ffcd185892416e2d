"""The scored test rows of a run: texts and predictions, the champion's beside the candidate's."""

from dataclasses import dataclass

import pandas as pd

from components import folders
from components.held_out import held_out

PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class Scored:
    """Test rows with what was predicted for them.

    `rows` has the test rows' columns (text, label and so on) and predicted and probabilities
    (float32 list in the order of `labels`). `champion` has what the champion predicted, under the
    same index, for those of the rows that it did not learn from, or is None.
    """

    rows: pd.DataFrame
    champion: pd.DataFrame | None
    labels: list[str]
    problem_type: str


def scored(
    dataset: str, evaluation: str, champion_evaluation: str, champion_dataset: str
) -> Scored:
    """Read the test rows and the predictions of both evaluations of them.

    The champion learned from `champion_dataset`; "" for `dataset`.
    """
    facts = folders.existing(evaluation)
    test = folders.read_table(dataset, "test.parquet")
    predictions = folders.read_table(evaluation, PREDICTIONS)
    rows = test.drop(columns="label").reset_index(drop=True)
    rows[["label", "predicted", "probabilities"]] = predictions[
        ["label", "predicted", "probabilities"]
    ]
    champion = None
    if champion_evaluation:
        champion = folders.read_table(champion_evaluation, PREDICTIONS, ["predicted"])
        if champion_dataset:
            champion = champion[held_out(dataset, champion_dataset)]
    return Scored(rows, champion, facts["labels"], facts["problem_type"])
