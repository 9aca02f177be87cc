"""What a version was made of, and in what two of them differ."""

from sharpen.registry.lineage.differences import Difference, differences
from sharpen.registry.lineage.lineage import Lineage, read_lineage

__all__ = ["Difference", "Lineage", "differences", "read_lineage"]
