"""An event as a webhook takes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from sharpen.notifications.event import Event

# https://docs.slack.dev/reference/block-kit/blocks
_HEADER_LENGTH, _TEXT_LENGTH = 150, 3000
_ICONS = {"promoted": "✅", "refused": "⛔", "waiting": "⏳", "failed": "❌"}

TYPE_PREFIX = "io.github.sharpen.model."


def slack(event: Event) -> tuple[str, dict[str, Any]]:
    """Content type and body for Slack's incoming webhooks; ``text`` is what others that take its form show."""
    title = f"{_ICONS[event.kind]} {event.model}: {event.summary}"
    lines = [f"• {reason}" for reason in event.reasons]
    lines += [f"{what}: {address}" for what, address in event.addresses.items() if address]
    lines += [f"run {event.run}"] if event.run else []
    body = _cut("\n".join([*map(_escaped, lines), *(f"`{_escaped(command)}`" for command in event.commands)]))
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title[:_HEADER_LENGTH]}},
        {"type": "section", "text": {"type": "mrkdwn", "text": body or "no details"}},
    ]
    return "application/json; charset=utf-8", {"text": f"{_escaped(title)}\n{body}", "blocks": blocks}


def cloudevents(event: Event) -> tuple[str, dict[str, Any]]:
    """Content type and body of a CloudEvent 1.0 in structured mode; the same event has the same id when sent again."""
    identity = f"{event.model}\n{event.run}\n{event.kind}\n{event.version}"
    attributes = {
        "specversion": "1.0",
        "id": hashlib.sha256(identity.encode()).hexdigest()[:32],
        "source": f"/sharpen/models/{quote(event.model)}",
        "type": TYPE_PREFIX + event.kind,
        "time": event.at,
        "datacontenttype": "application/json",
        "data": asdict(event),
    }
    # an attribute that is there may not be empty
    subject = {"subject": event.version or event.run} if event.version or event.run else {}
    return "application/cloudevents+json; charset=utf-8", attributes | subject


def encoded(event: Event, form: str) -> tuple[str, bytes]:
    """Content type and content of an event in one of the forms of `NotificationSettings.format`."""
    content_type, body = {"slack": slack, "cloudevents": cloudevents}[form](event)
    return content_type, json.dumps(body, ensure_ascii=False).encode()


def _escaped(text: str) -> str:
    """Text that is no markup: https://docs.slack.dev/messaging/formatting-message-text#escaping."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 1] + "…"
