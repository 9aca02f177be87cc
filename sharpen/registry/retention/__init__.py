"""Which runs, vectors and versions are old and needed by nothing, and their deletion."""

from sharpen.registry.retention.collect import KINDS, Garbage, find_garbage
from sharpen.registry.retention.settings import RetentionSettings

__all__ = ["KINDS", "Garbage", "RetentionSettings", "find_garbage"]
