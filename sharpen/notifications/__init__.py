"""Messages about a model to a webhook: promoted, refused, waiting for approval, or a run that failed."""

from sharpen.notifications.event import Event
from sharpen.notifications.settings import NotificationSettings
from sharpen.notifications.webhook import WEBHOOK_VARIABLE, notify

__all__ = ["WEBHOOK_VARIABLE", "Event", "NotificationSettings", "notify"]
