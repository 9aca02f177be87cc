"""Write the page of settings, docs/settings.md, from the settings: ``python -m pipeline.docs``."""

from __future__ import annotations

from pathlib import Path

from pipeline.parameters import markdown

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """# Settings

Made from the settings' models by `make settings`; `sharpen settings` prints the same. In a YAML file a group is a
mapping (`training: {temperature: 0.02}`); with `--set` and on a run form its settings are written `group.name`
(`--set training.temperature=0.02`). A step by itself takes those of its own group as options (`--temperature 0.02`).
An unknown name is an error.

"""


def page() -> str:
    """The page's text: what a setting is called, its default, what is allowed, and what it means."""
    return HEAD + markdown()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
