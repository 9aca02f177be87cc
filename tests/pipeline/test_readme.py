"""The README says what is so: its settings page, its commands, its options."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import docs
from pipeline.cli import app

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
STEP_COMMANDS = re.findall(r"-m (components\.\w+)((?:\\\n|[^\n#`])*)", TEXT)


def test_the_settings_page_is_made_from_the_settings() -> None:
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(), "run `make settings`"


def test_every_sharpen_command_exists() -> None:
    commands = {
        (*path, name)
        for path, group in [((), app), *(((g.name,), g.typer_instance) for g in app.registered_groups)]
        if group is not None
        for name in (c.name or c.callback.__name__ for c in group.registered_commands if c.callback)
    }
    mentioned = set(re.findall(r"^sharpen (\w+)", TEXT, flags=re.MULTILINE))
    mentioned |= set(re.findall(r"`sharpen (\w+)", TEXT))
    tops = {path[0] for path in commands}
    assert mentioned
    assert mentioned <= tops
    assert {("models", name) for name in ("list", "show", "pull", "promote", "rollback")} <= commands
    assert {("store", name) for name in ("up", "down", "env")} <= commands


@pytest.mark.parametrize(("module", "rest"), [(m, r) for m, r in STEP_COMMANDS if "<" not in m + r])
def test_every_option_of_a_step_in_the_readme_exists(module: str, rest: str) -> None:
    words = shlex.split(rest.replace("\\\n", " "))
    word = [words.pop(0)] if words and not words[0].startswith("-") else []
    command = [sys.executable, "-m", module, *word, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=README.parent, check=True)
    assert " ".join(["Usage: python -m", module, *word, "[OPTIONS]"]) in done.stdout
    for place, text in enumerate(words):
        if text.startswith("--"):
            assert text in done.stdout
        else:
            assert place and words[place - 1].startswith("--"), f"{text}: steps take options only"


def test_there_is_a_command_for_every_step() -> None:
    steps = {path.parent.name for path in (README.parent / "components").glob("*/__main__.py")}
    named = {module.removeprefix("components.") for module, _ in STEP_COMMANDS}
    assert steps - {"promotion"} <= named


def test_links_to_folders_lead_somewhere() -> None:
    for page in [README, *README.parent.glob("*/README.md"), *README.parent.glob("components/*/README.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_make_has_the_two_commands() -> None:
    makefile = (Path(README).parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
