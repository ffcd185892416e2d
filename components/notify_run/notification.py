"""One message about a run's end: promoted, unchanged, rejected or failed, with verdict and links.

The exit task sends it after the last step, also when a step failed. A webhook that cannot be
reached does not fail the run: what was promoted stays promoted, and the log says so.
"""

import os
from datetime import UTC, datetime
from typing import Any, Literal

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from components import promotions, storage
from components.console import say
from components.notify_run.settings import NotificationSettings
from serving.errors import InputError

STEP = "notify_run"
ADDRESS = "FINEGATE_WEBHOOK_URL"
SECONDS = 10
ENDED_BADLY = ("FAILED", "CANCELED")
ROLLED_OUT = ("accepted", "unchanged")
"""Decisions after which promote_model rolls the candidate out."""

Outcome = Literal["promoted", "unchanged", "rejected", "failed"]
Message = dict[str, Any]


def notify(
    store: str,
    name: str,
    run: str,
    *,
    state: str,
    error: str,
    settings: NotificationSettings,
) -> None:
    """Send the message to FINEGATE_WEBHOOK_URL; without that address nothing is sent."""
    address = os.environ.get(ADDRESS)
    if not address:
        say(STEP, f"{ADDRESS} is not set: nobody is told")
        return
    facts = ending(store, name, run, state=state, error=error, settings=settings)
    media_type, document = (
        ("application/json", slack(facts))
        if settings.format == "slack"
        else ("application/cloudevents+json", cloud_event(facts))
    )
    problem = _post(address, media_type, storage.json_bytes(document))
    say(STEP, f"{facts['outcome']}: {'told' if problem is None else f'not told, {problem}'}")


def ending(
    store: str,
    name: str,
    run: str,
    *,
    state: str,
    error: str,
    settings: NotificationSettings,
) -> Message:
    """What there is to tell. A store that does not answer leaves the verdict out.

    `state` is how KFP ended the steps, in words that differ: SUCCEEDED by kfp.local, COMPLETE or
    even RUNNING by the cluster's driver, which tells no error either. So a run went well if it did
    not fail, has a verdict, and the candidate, if it was to answer, is the champion and its rollout
    has ended: the log names a champion before that.
    """
    answers = False
    try:
        verdict = storage.read_json(f"{store}/runs/{run}/verdict.json") or {}
        champion = promotions.champion(store, name)
        if champion is not None and champion.version == verdict.get("candidate"):
            answers = promotions.answers(store, name, champion)
    except InputError:
        verdict = {}
    decision = verdict.get("decision")
    outcome: Outcome = "failed"
    if state not in ENDED_BADLY and decision and (answers or decision not in ROLLED_OUT):
        outcome = "promoted" if decision == "accepted" else decision
    place = f"{store}/runs/{run}/report.html"
    base = settings.report.rstrip("/")
    return {
        "outcome": outcome,
        "name": name,
        "run": run,
        "version": verdict.get("candidate"),
        "reason": verdict.get("reason", ""),
        "error": "" if outcome != "failed" else error or "a step failed; its log tells why",
        "report": f"{base}/{storage.split(place)[1]}" if base else place,
        "console": f"{settings.console.rstrip('/')}/#/runs/details/{run}"
        if settings.console
        else "",
    }


def slack(facts: Message) -> Message:
    """The body of Slack's incoming webhooks."""
    lines = [f"*{facts['name']}*: {facts['outcome']} {facts['version'] or ''}".rstrip()]
    lines += [facts[key] for key in ("error", "reason") if facts[key]]
    lines.append(f"report: {facts['report']}")
    if facts["console"]:
        lines.append(f"run: {facts['console']}")
    # https://docs.slack.dev/messaging/formatting-message-text#escaping
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    return {"text": "\n".join(lines).translate(escapes)}


def cloud_event(facts: Message) -> Message:
    """A CloudEvent 1.0 in structured mode. Its id is the same when the task is tried again."""
    return {
        "specversion": "1.0",
        "id": f"{facts['run']}/{facts['outcome']}",
        "source": f"finegate/{facts['name']}",
        "type": f"finegate.run.{facts['outcome']}",
        "subject": facts["run"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "datacontenttype": "application/json",
        "data": facts,
    }


def _post(address: str, media_type: str, body: bytes) -> str | None:
    """Send; returns what went wrong, without the address: a webhook's path is its secret."""
    # A POST may be repeated here: at worst a message comes twice.
    retry = Retry(
        total=4, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
    )
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            answer = session.post(
                address, body, headers={"content-type": media_type}, timeout=SECONDS
            )
        except requests.RequestException as error:
            return f"the webhook cannot be reached ({type(error).__name__})"
    return None if answer.ok else f"the webhook answered {answer.status_code}"
