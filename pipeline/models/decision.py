"""A person's decision about a version that waits, carried out: the inner part of the commands and of the pipeline."""

from __future__ import annotations

from sharpen.errors import InputError
from sharpen.notifications import NotificationSettings, notify
from sharpen.registry import approval
from sharpen.registry.report import approval_event


def carry_out(root: str, name: str, version: str, decision: str, by: str, comment: str, message: str) -> str:
    """What became of the version, in one line; a webhook is told too.

    Args:
        root, name, version: which.
        decision: ``approve`` or ``reject``.
        by, comment: who decides, and why.
        message: form of the message to the webhook.

    Raises:
        InputError: another decision, or what `approval.approve` and `approval.reject` raise.
        Overtaken: another version is the champion now.
    """
    settings = NotificationSettings.checked({"format": message}, where="message: ")
    if decision == "approve":
        champion = approval.approve(root, name, version, by=by, comment=comment)
        [decided] = [one for one in approval.approvals(root, name) if one.version == version]
        notify(approval_event(name, version, decided.decision, promoted=True, reasons=decided.reasons), settings)
        return f"{name}: champion is now {champion.version}"
    if decision == "reject":
        decided = approval.reject(root, name, version, by=by, comment=comment)
        notify(approval_event(name, version, decided.decision, promoted=False, reasons=decided.reasons), settings)
        return f"{name}: {version} was {decided.decision}"
    raise InputError(f"decision: {decision!r} is neither approve nor reject")
