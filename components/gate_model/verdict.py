"""The verdict: one JSON document, readable by people and programs."""

import operator
from typing import Literal

from pydantic import BaseModel, ConfigDict

Relation = Literal[">=", "<=", ">", "<"]
_HOLDS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}

Decision = Literal["accepted", "rejected", "unchanged", "waiting"]
"""`waiting`: accepted, but a person must release it (`approve: manual`)."""


class Check(BaseModel):
    """One rule applied: what was observed, the bound, and a sentence why."""

    model_config = ConfigDict(frozen=True)

    name: str
    observed: float | None
    relation: Relation
    bound: float
    passed: bool
    why: str

    @classmethod
    def of(
        cls, name: str, observed: float | None, relation: Relation, bound: float, why: str = ""
    ) -> "Check":
        """One number against one bound; what is undefined (None) does not pass.

        `why` unset tells the number and the bound.
        """
        passed = observed is not None and bool(_HOLDS[relation](observed, bound))
        if observed is None:
            why = f"{name} is undefined on these test rows"
        return cls(
            name=name,
            observed=observed,
            relation=relation,
            bound=bound,
            passed=passed,
            why=why or f"{name} is {observed:.4f} and must be {relation} {bound:.4g}",
        )


class Champion(BaseModel):
    """The champion that the candidate was compared with."""

    model_config = ConfigDict(frozen=True)

    version: str
    number: int
    """Number of the event in the promotion log; a promotion must follow exactly this one."""


class Verdict(BaseModel):
    """What the gate decided, against whom, and why."""

    model_config = ConfigDict(frozen=True)

    decision: Decision
    reason: str
    run: str
    name: str
    candidate: str
    """Version of the candidate."""
    model: str
    """S3 address of the exported candidate."""
    champion: Champion | None
    evaluation: str
    champion_evaluation: str
    champion_dataset: str
    """S3 address of the dataset that the champion learned from, "" for the run's own or none known.
    Test rows with a text that it learned from are left out where the two are compared."""
    checks: list[Check]


def decide(checks: list[Check]) -> tuple[Decision, str]:
    """The decision and its reason in one sentence."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return "accepted", f"All {len(checks)} checks passed."
    return "rejected", f"{len(failed)} of {len(checks)} checks failed: " + "; ".join(
        check.why for check in failed
    )


def as_markdown(verdict: Verdict) -> str:
    """The verdict as a Markdown table."""
    lines = [
        f"# {verdict.name}: {verdict.decision}",
        "",
        verdict.reason,
        "",
        "| check | observed | bound | passed |",
        "|---|---:|---:|---|",
    ]
    for check in verdict.checks:
        observed = "-" if check.observed is None else f"{check.observed:.4g}"
        passed = "yes" if check.passed else "**no**"
        lines.append(
            f"| {check.name} | {observed} | {check.relation} {check.bound:.4g} | {passed} |"
        )
    return "\n".join(lines) + "\n"
