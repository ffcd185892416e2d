import json
from collections.abc import Iterator
from typing import Any

import pytest

from components import promotions, storage
from components.notify_run.notification import ADDRESS, notify
from components.notify_run.settings import NotificationSettings
from tests.http_servers import Handler, listening

VERDICT = {"decision": "accepted", "candidate": "9065e5074129", "reason": "All 6 checks passed."}


class Webhook:
    """A server that keeps what it is sent and answers with the statuses it was given."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.url = ""


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    hook = Webhook()

    class Received(Handler):
        def do_POST(self) -> None:
            hook.received.append((self.headers["Content-Type"], json.loads(self.body())))
            self.send(hook.statuses.pop(0) if hook.statuses else 200)

    with listening(Received) as url:
        hook.url = f"{url}/services/secret"
        monkeypatch.setenv(ADDRESS, hook.url)
        yield hook


def tell(store: str, *, state: str = "COMPLETE", error: str = "", **settings: str) -> None:
    notify(
        store,
        "hotels",
        "r1",
        state=state,
        error=error,
        settings=NotificationSettings.model_validate(settings),
    )


def judged(
    store: str, decision: str = "accepted", *, promoted: bool = True, answers: bool = True
) -> None:
    storage.write_json(f"{store}/runs/r1/verdict.json", {**VERDICT, "decision": decision})
    if decision != "rejected" and promoted:
        event = promotions.append(
            store, "hotels", None, action="promote", version="9065e5074129", run="r1", reason=""
        )
        if answers:
            promotions.record_rollout(store, "hotels", event, "http://hotels")


@pytest.mark.parametrize("state", ["COMPLETE", "SUCCEEDED", "RUNNING"])
@pytest.mark.parametrize(
    ("decision", "outcome"),
    [("accepted", "promoted"), ("unchanged", "unchanged"), ("rejected", "rejected")],
)
def test_a_run_that_ended_tells_the_verdict(
    webhook: Webhook, store: str, decision: str, outcome: str, state: str
) -> None:
    judged(store, decision)
    tell(store, state=state, console="https://kfp.example.com/")
    [(media_type, body)] = webhook.received
    assert media_type == "application/json"
    assert body["text"].splitlines() == [
        f"*hotels*: {outcome} 9065e5074129",
        "All 6 checks passed.",
        f"report: {store}/runs/r1/report.html",
        "run: https://kfp.example.com/#/runs/details/r1",
    ]


def test_a_failure_before_the_gate_is_told_with_its_error(webhook: Webhook, store: str) -> None:
    tell(store, state="FAILED", error="Task finetune-model failed <here>.")
    [(_, body)] = webhook.received
    assert body["text"].startswith("*hotels*: failed\nTask finetune-model failed &lt;here&gt;.")


def test_a_promotion_that_failed_is_not_told_as_promoted(webhook: Webhook, store: str) -> None:
    judged(store)
    tell(store, state="FAILED", error="Task promote-model failed.")
    assert webhook.received[0][1]["text"].startswith("*hotels*: failed 9065e5074129")


def test_what_was_accepted_and_is_no_champion_is_not_told_as_promoted(
    webhook: Webhook, store: str
) -> None:
    judged(store, promoted=False)
    tell(store, state="RUNNING")
    assert webhook.received[0][1]["text"].startswith("*hotels*: failed 9065e5074129")


def test_a_promotion_that_a_person_pinned_and_unpinned_meanwhile_is_told_as_one(
    webhook: Webhook, store: str
) -> None:
    judged(store)
    actions: list[promotions.Action] = ["pin", "unpin"]
    for action in actions:
        last = promotions.champion(store, "hotels")
        promotions.append(
            store, "hotels", last, action=action, version="9065e5074129", run="", reason=""
        )
    tell(store)
    assert webhook.received[0][1]["text"].startswith("*hotels*: promoted 9065e5074129")


@pytest.mark.parametrize("decision", ["accepted", "unchanged"])
@pytest.mark.parametrize("state", ["COMPLETE", "RUNNING"])
def test_a_champion_whose_rollout_did_not_end_is_told_as_a_failure(
    webhook: Webhook, store: str, decision: str, state: str
) -> None:
    judged(store, decision, answers=False)
    tell(store, state=state)
    assert webhook.received[0][1]["text"].startswith("*hotels*: failed 9065e5074129")


def test_a_store_that_does_not_answer_does_not_keep_a_failure_from_being_told(
    webhook: Webhook, s3: dict[str, str]
) -> None:
    tell("s3://no-such-bucket/x", state="FAILED", error="S3 is gone.")
    assert "S3 is gone." in webhook.received[0][1]["text"]


def test_a_cloud_event_has_its_attributes_and_the_same_id_when_told_again(
    webhook: Webhook, store: str
) -> None:
    judged(store)
    for _ in range(2):
        tell(store, format="cloudevent", report="https://files.example.com")
    (media_type, first), (_, second) = webhook.received
    assert media_type == "application/cloudevents+json"
    assert first["specversion"] == "1.0"
    assert first["type"] == "finegate.run.promoted"
    assert first["id"] == second["id"] == "r1/promoted"
    assert first["source"] == "finegate/hotels"
    assert first["data"]["report"].startswith("https://files.example.com/")
    assert first["data"]["report"].endswith("/runs/r1/report.html")


def test_a_webhook_that_is_busy_is_asked_again(webhook: Webhook, store: str) -> None:
    webhook.statuses = [503, 429]
    tell(store, state="FAILED")
    assert len(webhook.received) == 3


def test_a_webhook_that_refuses_fails_no_run_and_its_address_is_not_printed(
    webhook: Webhook, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.statuses = [404]
    tell(store)
    said = capsys.readouterr().out
    assert "not told, the webhook answered 404" in said
    assert "secret" not in said


def test_without_an_address_nobody_is_told(
    webhook: Webhook, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ADDRESS)
    tell(store)
    assert webhook.received == []
