"""README and documentation say what is so: pages made from code, commands, options, settings, links."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import sharpen
from pipeline import docs
from pipeline.cli import app
from pipeline.parameters import GROUPS, TOP_LEVEL, every_setting, load
from sharpen.data.preparation.contract import read_contract

ROOT = docs.ROOT
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS_PAGES = sorted(
    path
    for top in ("sharpen", "components", "pipeline", "tests", "images", "k8s")
    for path in (ROOT / top).rglob("README.md")
)
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
# an option that only FlagEmbedding's command lines have
FLAGEMBEDDING = "--model_name_or_path"
STEP_COMMANDS = sorted(set(re.findall(r"-m (components\.\w+)((?:\\\n|[^\n#`])*)", TEXT)))


def commands() -> set[str]:
    """The names of all commands of `sharpen`, those of its groups with the group's name before them."""
    groups = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    return {
        before + (command.name or command.callback.__name__)
        for before, group in groups
        if group is not None
        for command in group.registered_commands
        if command.callback
    }


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every block of code in this language."""
    return [
        (page.name, text)
        for page in PAGES
        for text in re.findall(
            rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
    ]


def test_what_is_made_from_code_is_up_to_date() -> None:
    assert docs.SETTINGS.read_text(encoding="utf-8") == docs.settings_page(), "run `make settings`"
    assert docs.PRESETS.read_text(encoding="utf-8") == docs.presets_page(), "run `make settings`"
    assert docs.ROOMS.read_text(encoding="utf-8") == docs.rooms_svg(), "run `make settings`"


def test_every_sharpen_command_exists() -> None:
    known = commands()
    assert {"models list", "models show", "models pull", "models promote", "models rollback"} <= known
    assert {"store up", "store down", "store env"} <= known
    groups = {name.partition(" ")[0] for name in known if " " in name}
    mentioned = re.findall(r"(?:^|`|\()sharpen ([a-z-]+)(?: ([a-z]+))?", TEXT, re.MULTILINE)
    assert len(mentioned) > 20
    for word, second in mentioned:
        assert word in groups | known, f"sharpen {word}"
        assert word not in groups or not second or f"{word} {second}" in known, f"sharpen {word} {second}"


@pytest.mark.parametrize(
    "command", [c for _, text in blocks("bash") for c in re.findall(r"^sharpen .*", text, re.MULTILINE)]
)
def test_every_option_and_setting_of_a_command_exists(command: str) -> None:
    words = shlex.split(command, comments=True)
    name = " ".join(words[1:3]) if " ".join(words[1:3]) in commands() else words[1]
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for option in [word.partition("=")[0] for word in words if word.startswith("--")]:
        assert re.search(rf"{option}\b", shown), f"{name} has no {option}"
    load(None, [value for option, value in pairwise(words) if option == "--set"])


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_every_example_of_settings_holds(page: str, text: str, tmp_path: Path) -> None:
    if set(yaml.safe_load(text)) & {*GROUPS, *TOP_LEVEL}:
        (tmp_path / "my.yaml").write_text(text)
        load(tmp_path / "my.yaml", [])
    elif text.startswith("# contract.yaml"):
        (tmp_path / "contract.yaml").write_text(text)
        read_contract(str(tmp_path / "contract.yaml"))
    else:
        assert {"schedules", "experiment"} <= set(yaml.safe_load(text)), page


def test_every_setting_that_is_named_exists() -> None:
    known = {name for name, _ in every_setting()}
    named = set(re.findall(rf"`((?:{'|'.join(GROUPS)})\.[a-z_]+)[`=]", TEXT))
    assert len(named) > 20
    assert named - {"training.json", "pretraining.json", "merging.json"} <= known


def test_every_option_of_a_flagembedding_command_is_an_argument() -> None:
    kinds = (sharpen.ModelArguments, sharpen.DataArguments, sharpen.TrainingArguments)
    known = {f"--{field.name}" for kind in kinds for field in dataclasses.fields(kind)}
    used = {
        word for _, rest in STEP_COMMANDS if FLAGEMBEDDING in rest for word in rest.split() if word.startswith("--")
    }
    assert used <= known


@pytest.mark.parametrize(
    ("module", "rest"),
    [(m, r) for m, r in STEP_COMMANDS if "<" not in m + r and "..." not in r and FLAGEMBEDDING not in r],
)
def test_every_option_of_a_step_exists(module: str, rest: str) -> None:
    words = shlex.split(rest.replace("\\\n", " "))
    word = [words.pop(0)] if words and not words[0].startswith("-") else []
    command = [sys.executable, "-m", module, *word, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert " ".join(["Usage: python -m", module, *word, "[OPTIONS]"]) in done.stdout
    for position, text in enumerate(words):
        if text.startswith("--"):
            assert text in done.stdout
        else:
            assert position and words[position - 1].startswith("--"), f"{text}: steps take options only"


def test_there_is_a_command_for_every_step() -> None:
    steps = {path.parent.name for path in (ROOT / "components").glob("*/__main__.py")}
    named = {module.removeprefix("components.") for module, _ in STEP_COMMANDS}
    assert steps - {"promotion"} <= named


def test_links_lead_somewhere() -> None:
    for path in [*PAGES, *FOLDERS_PAGES]:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall(r'src="(?!http)([^"]+)"', text):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_files_and_modules_that_pages_name_exist() -> None:
    for name in set(re.findall(r"`((?:sharpen|components|pipeline|tests|images|k8s|docs)/[\w./-]*)`", TEXT)):
        assert (ROOT / name).exists(), name
    for name in set(re.findall(r"`(sharpen(?:\.[a-z_]+)+)`", TEXT)):
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), name


def test_make_has_the_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {target for _, text in blocks("bash") for target in re.findall(r"^make ([\w-]+)", text, re.MULTILINE)}
    assert {"demo", "test"} <= targets
    for target in targets | set(re.findall(r"`make ([\w-]+)", TEXT)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_first_screen_fits_a_page() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 250
    first = "\n".join(lines[:30])
    assert "make demo" in first and "nDCG@10" in first and "docs/images/report.png" in first
    assert (ROOT / "docs/images/report.png").stat().st_size < 300_000
