"""What is wrong with the rows: each finding counts them, names them, and says what was done."""

import unicodedata
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from components.validate_dataset.settings import ValidationSettings
from serving.errors import InputError

ROWS_NAMED = 1000
"""Row numbers that a finding lists; `count` is always complete."""


class Finding(BaseModel):
    """One kind of defect in the dataset."""

    model_config = ConfigDict(frozen=True)

    name: str
    sentence: str
    count: int
    action: Literal["dropped", "kept"]
    rows: list[str]
    """`file:row` of the source, at most ROWS_NAMED."""


def repair(rows: pd.DataFrame, settings: ValidationSettings) -> tuple[pd.DataFrame, list[Finding]]:
    """Apply the row rules in order; returns the rows that stay and the findings.

    Texts are compared as people read them: Unicode NFKC, case folded, white space collapsed.
    Raises InputError when a rule says `fail`.
    """
    findings: list[Finding] = []

    def apply(name: str, sentence: str, bad: "pd.Series[bool]", rule: str) -> None:
        nonlocal rows
        if not bad.any():
            return
        finding = Finding(
            name=name,
            sentence=sentence,
            count=int(bad.sum()),
            action="dropped" if rule == "drop" else "kept",
            rows=places(rows[bad]),
        )
        if rule == "fail":
            raise InputError(
                f"{finding.count} row(s) of the dataset have {sentence} "
                f"({', '.join(finding.rows[:5])}). Mend the source, or set "
                f"validation.{name} to drop."
            )
        findings.append(finding)
        if rule == "drop":
            rows = rows[~bad]

    texts = [column for column in ("text", "text_pair") if column in rows]
    empty = pd.Series(False, index=rows.index)
    for column in texts:
        empty |= rows[column].isna() | (rows[column].str.strip() == "")
    apply("missing_text", "no text", empty, settings.missing_text)
    apply("missing_label", "no label", rows["label"].isna(), settings.missing_label)

    rows = rows.assign(key=keys(rows))
    labels_a_text = rows.groupby("key")["label"].transform("nunique")
    apply("conflicts", "a text that also has another label", labels_a_text > 1, settings.conflicts)
    again = rows.duplicated(["key", "label", "split"], keep="first")
    apply("duplicates", "a text that came before with the same label", again, settings.duplicates)
    tested = set(rows.loc[rows["split"] == "test", "key"])
    leaked = rows["key"].isin(tested) & (rows["split"] != "test")
    apply("leakage", "a training text that is in the test split too", leaked, settings.leakage)
    return rows, findings


def keys(rows: pd.DataFrame) -> "pd.Series[str]":
    """What makes two rows the same text."""
    key = rows["text"].map(_normalized)
    return key + "\0" + rows["text_pair"].map(_normalized) if "text_pair" in rows else key


def places(rows: pd.DataFrame) -> list[str]:
    """`file:row` of the first rows."""
    head = rows.head(ROWS_NAMED)
    return [f"{file}:{row}" for file, row in zip(head["file"], head["row"], strict=True)]


def profile(rows: pd.DataFrame) -> dict[str, Any]:
    """Facts about the rows that stay: count, rows by label, and text lengths in characters."""
    lengths = rows["text"].str.len()
    return {
        "rows": len(rows),
        "labels": {str(k): int(v) for k, v in rows["label"].value_counts().sort_index().items()},
        "characters": {
            "median": float(lengths.median()),
            "p95": float(lengths.quantile(0.95)),
            "longest": int(lengths.max()),
        },
    }


def _normalized(text: object) -> str:
    return " ".join(unicodedata.normalize("NFKC", str(text)).casefold().split())
