"""What a predictor is asked by the V1 protocol, and how far an answer is from what was measured."""

from collections.abc import Iterable, Mapping
from typing import Any


def instance(row: Mapping[Any, Any]) -> Any:
    """A row of texts as an item of `instances`."""
    if "text_pair" in row:
        return {"text": row["text"], "text_pair": row["text_pair"]}
    return row["text"]


def scores(answer: dict[str, Any]) -> dict[str, float]:
    """Scores by label of the first prediction in an answer's JSON."""
    return {each["label"]: each["score"] for each in answer["predictions"][0]["scores"]}


def largest_difference(
    found: Mapping[str, float], labels: Iterable[str], expected: Iterable[float]
) -> float:
    """Between the scores found and those expected [C], in the order of `labels`.

    Beyond 1, as a regression's values may be, in proportion to what was expected: so fp32 rounds.
    """
    pairs = zip(labels, expected, strict=True)
    return float(max(abs(found[label] - score) / max(1.0, abs(score)) for label, score in pairs))
