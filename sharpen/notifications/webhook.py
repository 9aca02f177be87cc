"""Send an event to the webhook, and go on whatever comes of it."""

from __future__ import annotations

import logging
import os

from sharpen.console import TO_STDERR
from sharpen.http_api import ApiError, Server
from sharpen.http_api.json_api import request
from sharpen.notifications.event import Event
from sharpen.notifications.formats import encoded
from sharpen.notifications.settings import NotificationSettings

logger = logging.getLogger(__name__)

WEBHOOK_VARIABLE = "SHARPEN_WEBHOOK_URL"
"""Where the address is, and nowhere else: who has it can write to the channel."""

PATIENCE_SECONDS = 20.0
_TRY_SECONDS = 10.0


def notify(event: Event, settings: NotificationSettings, *, patience: float = PATIENCE_SECONDS) -> bool:
    """Send an event, if it is one of those that are wanted; whether it was sent. Neither raises nor names the address.

    Args:
        event: what happened.
        settings: which events, and in which form.
        patience: seconds for which it is tried.
    """
    url = os.environ.get(WEBHOOK_VARIABLE, "").strip()
    if not url or event.kind not in settings.on:
        return False
    content_type, data = encoded(event, settings.format)
    headers = {"Content-Type": content_type, "User-Agent": "sharpen"}
    server = Server("the webhook", True, patience, 0.5, 5.0)
    try:
        server.call(
            lambda left: request("POST", url, data, headers=headers, seconds=min(left, _TRY_SECONDS)),
            lambda error: error.passing,
        )
    except ApiError as error:
        # what a server says may repeat the address
        what = f"it answered {error.status}" if error.status else "it does not answer"
        if error.status == 400 and not error.reason:
            # of ours, about the address
            what = error.message
        logger.warning(
            f"note: the webhook ({WEBHOOK_VARIABLE}) was not told that {event.model} was {event.kind}: {what}"
        )
        return False
    logger.info(f"message to the webhook: {event.kind}", extra=TO_STDERR)
    return True
