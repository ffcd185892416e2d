"""The mistakes that the candidate was surest of: mislabelled rows are often among them."""

from dataclasses import dataclass

import numpy as np

from components.report_run.scored import Scored

MOST = 20
CHARACTERS = 400


@dataclass(frozen=True)
class Mistake:
    """A test row that was predicted wrongly."""

    place: str
    """`file:row` of the source."""
    true: str
    predicted: str
    strength: float
    """Probability of what was wrong; of a regression, how far off the number is."""
    text: str | None
    """Cut to CHARACTERS; None where texts are not shown."""


def mistakes(scored: Scored, *, show_texts: bool) -> list[Mistake]:
    """The MOST mistakes of the highest strength, the surest first.

    With several labels a row, a mistake is one label that is there and was not predicted, or the
    reverse, and its strength the probability given to the opposite of the truth.
    """
    rows = scored.rows
    probabilities = np.stack(rows["probabilities"].to_list()).astype(np.float64)
    found: list[tuple[float, int, str, str]] = []
    if scored.problem_type == "regression":
        for i, (label, predicted) in enumerate(zip(rows["label"], rows["predicted"], strict=True)):
            found.append((abs(label - predicted), i, f"{label:.4g}", f"{predicted:.4g}"))
    elif scored.problem_type == "multi_label_classification":
        for i, (truth, guess) in enumerate(zip(rows["label"], rows["predicted"], strict=True)):
            for j, label in enumerate(scored.labels):
                if (label in truth) != (label in guess):
                    said = probabilities[i, j] if label in guess else 1 - probabilities[i, j]
                    true, wrong = (label, f"not {label}")[:: 1 if label in truth else -1]
                    found.append((float(said), i, true, wrong))
    else:
        for i, (truth, guess) in enumerate(zip(rows["label"], rows["predicted"], strict=True)):
            if truth != guess:
                found.append((float(probabilities[i].max()), i, truth, guess))
    found.sort(key=lambda each: (-each[0], each[1]))
    return [
        Mistake(_place(scored, i), true, guess, strength, _text(scored, i) if show_texts else None)
        for strength, i, true, guess in found[:MOST]
    ]


def _place(scored: Scored, i: int) -> str:
    return f"{scored.rows['file'].iloc[i]}:{scored.rows['row'].iloc[i]}"


def _text(scored: Scored, i: int) -> str:
    columns = [name for name in ("text", "text_pair") if name in scored.rows]
    text = " / ".join(str(scored.rows[name].iloc[i]) for name in columns)
    return text if len(text) <= CHARACTERS else text[: CHARACTERS - 1] + "…"
