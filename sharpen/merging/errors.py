"""Why there is nothing to merge."""

from __future__ import annotations

from sharpen.errors import InputError


class NotMergeable(InputError):
    """Models or data do not allow it, which is known only when they are read: no fault where nobody asked for it."""
