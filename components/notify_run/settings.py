"""How a run's end is told."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class NotificationSettings(BaseModel):
    """Settings of notify_run; the address is FINEGATE_WEBHOOK_URL, which may hold a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["slack", "cloudevent"] = "slack"
    """Slack's incoming webhook (Mattermost and others take it too), or a CloudEvent 1.0."""
    console: str = ""
    """Address of KFP's console, for a link to the run; '' leaves the link out."""
    report: str = ""
    """Address that serves the store's files, for a link to the report; '' tells its S3 address."""
