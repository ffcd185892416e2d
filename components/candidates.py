"""The index of a model's candidates: one small document a run, under the model's own name.

`models/<name>/candidates/<run>.json`. `runs/` is ordered by run and its ids say nothing of the
model or, on a cluster, of time. Here one listing tells a model's runs and when each was judged, and
a reader of one page of them opens no other run's documents.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from components import storage
from components.promotions import model_uri

Decision = Literal["accepted", "rejected", "unchanged", "waiting"]


class Compared(BaseModel):
    """The champion that a candidate was compared with, scored on the same test rows."""

    model_config = ConfigDict(frozen=True)

    version: str
    number: int
    metrics: dict[str, float | None]
    """Empty where it could not be scored on these rows."""


class Candidate(BaseModel):
    """What the gate decided on one candidate, in short."""

    model_config = ConfigDict(frozen=True)

    run: str
    version: str
    decision: Decision
    reason: str
    at: str
    """UTC, ISO 8601."""
    checks: int
    failed: list[str]
    """Names of the checks that failed."""
    metrics: dict[str, float | None]
    """The metrics that are one number, on the test rows."""
    champion: Compared | None


def candidates_uri(store: str, name: str) -> str:
    """Where a model's candidates are listed."""
    return f"{model_uri(store, name)}/candidates"


def record(
    store: str,
    verdict: dict[str, Any],
    metrics: dict[str, Any],
    champion_metrics: dict[str, Any] | None,
) -> None:
    """List the candidate of a verdict; judging the run again replaces its document."""
    champion = verdict["champion"]
    candidate = Candidate(
        run=verdict["run"],
        version=verdict["candidate"],
        decision=verdict["decision"],
        reason=verdict["reason"],
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        checks=len(verdict["checks"]),
        failed=[check["name"] for check in verdict["checks"] if not check["passed"]],
        metrics=single_numbers(metrics),
        champion=champion and Compared(**champion, metrics=single_numbers(champion_metrics or {})),
    )
    uri = f"{candidates_uri(store, verdict['name'])}/{candidate.run}.json"
    storage.write_json(uri, candidate.model_dump())


def record_approval(store: str, name: str, run: str, by: str) -> None:
    """List a candidate that waited as accepted; doing it again changes nothing."""
    uri = f"{candidates_uri(store, name)}/{run}.json"
    found = storage.read_json(uri)
    if found is None:  # the gate was killed before it listed the candidate
        return
    waiting = Candidate.model_validate(found)
    if waiting.decision == "waiting":
        reason = f"{waiting.reason} Approved by {by}."
        approved = waiting.model_copy(update={"decision": "accepted", "reason": reason})
        storage.write_json(uri, approved.model_dump())


def judged_last(store: str, count: int) -> list[tuple[str, Candidate]]:
    """The candidates that were judged last, with their models' names; the newest at the end."""
    judged = [
        (item["LastModified"], name, key)
        for name in storage.list_folders(f"{store}/models")
        for key, item in storage.list_objects(candidates_uri(store, name))
    ]
    return [
        (name, Candidate.model_validate(storage.read_json(f"{candidates_uri(store, name)}/{key}")))
        for _, name, key in sorted(judged)[-count:]
    ]


def single_numbers(metrics: dict[str, Any]) -> dict[str, float | None]:
    """The metrics of an evaluation that are one number, or None where undefined."""
    return {
        name: value
        for name, value in metrics.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }
