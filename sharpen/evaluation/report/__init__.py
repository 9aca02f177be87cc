"""The report of an evaluation: one HTML file that needs nothing else."""

from __future__ import annotations

from sharpen.evaluation.report.render import render_report

__all__ = ["render_report"]
