"""Which queries are dev and test, and that training has seen nothing of them."""

from sharpen.data.preparation.splits.cutting import make_splits

__all__ = ["make_splits"]
