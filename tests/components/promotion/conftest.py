"""The registry tests' fixtures."""

from tests.sharpen.registry.conftest import make_evaluation, make_model, root

__all__ = ["make_evaluation", "make_model", "root"]
