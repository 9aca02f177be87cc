"""Write the settings page of the README from the settings: ``python -m pipeline.docs``."""

from __future__ import annotations

from pathlib import Path

from pipeline.parameters import markdown

START, END = "<!-- settings: start -->", "<!-- settings: end -->"
README = Path(__file__).parents[1] / "README.md"


def with_settings(text: str) -> str:
    """The README's text with the page between its two marks made anew."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{markdown()}{END}{after}"


if __name__ == "__main__":
    README.write_text(with_settings(README.read_text(encoding="utf-8")), encoding="utf-8")
