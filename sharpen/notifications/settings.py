"""Settings of the messages about a model. The address is none of them: it is a secret of the environment."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from sharpen.settings import SettingsModel, split_list

Kind = Literal["promoted", "refused", "waiting", "failed"]


class NotificationSettings(SettingsModel):
    """What is sent to the webhook in SHARPEN_WEBHOOK_URL, on a cluster in the secret sharpen-webhook."""

    format: Literal["slack", "cloudevents"] = Field(
        "slack",
        description="Form of the message. slack: JSON as Slack's, Mattermost's and others' incoming webhooks take it; "
        "cloudevents: CloudEvents 1.0, structured mode.",
    )
    on: tuple[Kind, ...] = Field(
        ("promoted", "refused", "waiting", "failed"),
        description="What is worth a message; nothing is sent where SHARPEN_WEBHOOK_URL (on a cluster the secret "
        "sharpen-webhook, key url) is not set.",
    )

    @field_validator("on", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_list(value)
