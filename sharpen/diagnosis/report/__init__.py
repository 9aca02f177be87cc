"""The findings of a run as a section of its report."""

from sharpen.diagnosis.report.section import with_causes

__all__ = ["with_causes"]
