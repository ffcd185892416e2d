"""A person's word that an accepted candidate may be promoted, kept beside the run's verdict."""

import getpass
from datetime import UTC, datetime
from typing import Any

from components import candidates, storage
from serving.errors import InputError


def approve(store: str, run: str) -> None:
    """Release a run whose verdict waits; doing it again changes nothing.

    Raises InputError when there is no verdict, or it does not wait.
    """
    verdict: dict[str, Any] | None = storage.read_json(f"{store}/runs/{run}/verdict.json")
    if verdict is None or verdict["decision"] != "waiting":
        found = "no verdict" if verdict is None else f"the verdict {verdict['decision']}"
        raise InputError(
            f"run {run} has {found}, so there is nothing to approve. A verdict waits where the "
            "gate says approve: manual and every check passed."
        )
    by = getpass.getuser()
    said = {"by": by, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    storage.create_json(_uri(store, run), said)
    candidates.record_approval(store, verdict["name"], run, by)


def approved(store: str, run: str) -> bool:
    """True once a person approved the run."""
    return storage.read_json(_uri(store, run)) is not None


def _uri(store: str, run: str) -> str:
    return f"{store}/runs/{run}/approval.json"
