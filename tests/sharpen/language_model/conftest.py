"""An endpoint, and settings that go with it."""

from __future__ import annotations

from tests.sharpen.generation.conftest import model, settings  # noqa: F401 - fixtures
