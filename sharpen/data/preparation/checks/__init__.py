"""What is worth knowing of data before a model is trained on them: counts, shares and examples."""

from sharpen.data.preparation.checks.all_checks import run_checks, with_language_columns
from sharpen.data.preparation.checks.labels import conflicting_labels
from sharpen.data.preparation.checks.language import main_languages

__all__ = ["conflicting_labels", "main_languages", "run_checks", "with_language_columns"]
