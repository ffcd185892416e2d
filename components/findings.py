"""What is wrong with data, by rule: each finding counts rows, names them, says what was done."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from serving.errors import InputError

Rule = Literal["ignore", "warn", "repair", "fail"]
Judgement = Literal["ignore", "warn", "fail"]
"""The rule of a finding that nothing mends but a better source."""

DataFinding = Literal[
    "missing_text",
    "missing_label",
    "broken_text",
    "short_text",
    "foreign_script",
    "boilerplate",
    "conflicts",
    "duplicates",
    "leakage",
    "near_leakage",
    "near_duplicates",
    "sorted_by_label",
    "imbalance",
]
"""What validate_dataset looks for, by the keys of its rules."""

ROWS_NAMED = 1000
"""Row numbers that a finding lists in a manifest; `count` is always complete."""


class Finding(BaseModel):
    """One kind of defect; it reads as "<count> row(s) with <sentence>: <action>"."""

    model_config = ConfigDict(frozen=True)

    name: str
    sentence: str
    rule: Rule
    count: int
    share: float
    """Of the rows that were looked at, 0 to 1."""
    action: str
    rows: list[str]
    """`file:row` of the source, at most ROWS_NAMED."""
    detail: dict[str, Any] = {}


class Ledger:
    """Collects the findings of one dataset under their rules."""

    def __init__(self, section: str) -> None:
        """`section` of the config holds the rules, for messages."""
        self.findings: list[Finding] = []
        self.places: dict[str, list[tuple[str, int]]] = {}
        """Every row of each finding, as (file, row)."""
        self._section = section

    def record(
        self,
        name: str,
        sentence: str,
        rule: Rule,
        places: Iterable[tuple[str, int]],
        total: int,
        *,
        repaired: str = "dropped",
        kept: str = "kept",
        detail: dict[str, Any] | None = None,
        count: int | None = None,
    ) -> bool:
        """Note a finding unless there is none or it is ignored; True where repair is asked for.

        `places` are its rows; `count` says how many they are where only the first are known.

        A finding whose rule is `fail` is repaired too, so that those behind it are found as well;
        `settle` refuses the data then.
        """
        found = list(places)
        count = len(found) if count is None else count
        if rule == "ignore" or not count:
            return False
        mended = rule in ("repair", "fail")
        self.places[name] = found
        self.findings.append(
            Finding(
                name=name,
                sentence=sentence,
                rule=rule,
                count=count,
                share=count / max(total, 1),
                action=repaired if rule == "repair" else "refused" if rule == "fail" else kept,
                rows=[f"{file}:{row}" for file, row in found[:ROWS_NAMED]],
                detail=detail or {},
            )
        )
        return mended

    def settle(self) -> None:
        """Raise InputError that names every finding whose rule is `fail`."""
        failed = [finding for finding in self.findings if finding.rule == "fail"]
        if failed:
            told = "; ".join(
                f"{finding.count} row(s) with {finding.sentence} ({', '.join(finding.rows[:5])})"
                for finding in failed
            )
            keys = ", ".join(f"{self._section}.{finding.name}" for finding in failed)
            raise InputError(
                f"the dataset has {told}. Mend the source, or set {keys} to another rule "
                "(repair, warn or ignore, as far as the key takes them)."
            )
