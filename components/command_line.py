"""A step's command line, made from its settings models.

`python -m components.<step>` builds its options from pydantic fields, so name, default, bounds and help are
written once. Underscores are the spelling; dashes are accepted too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, get_args

import click
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sharpen import exit_status
from sharpen.errors import InputError
from sharpen.processes.garbage import collect_garbage_rarely
from sharpen.settings import load_json


def describe_bounds(field: FieldInfo) -> str:
    """The allowed values in words, for example ``> 0, <= 10`` or ``cls | mean``; empty when any value goes."""
    signs: dict[type, tuple[str, str]] = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt")}
    bounds = [f"{signs[type(m)][0]} {getattr(m, signs[type(m)][1])}" for m in field.metadata if type(m) in signs]
    choices = [str(value) for value in get_args(field.annotation) if isinstance(value, str)]
    return ", ".join(bounds) or " | ".join(choices)


def options(model: type[BaseModel]) -> list[click.Option]:
    """One command-line option per field of the model; values stay text until pydantic checks them."""
    made = []
    for name, field in model.model_fields.items():
        facts = []
        if not field.is_required():
            facts.append(f"default: {format_default(field.get_default(call_default_factory=True))}")
        if bounds := describe_bounds(field):
            facts.append(bounds)
        text = f"{field.description or ''} [{'; '.join(facts)}]" if facts else field.description
        names = [f"--{name}", *([f"--{name.replace('_', '-')}"] if "_" in name else [])]
        made.append(click.Option([name, *names], type=str, default=None, help=text, required=field.is_required()))
    return made


def format_default(value: Any) -> str:
    """A default as help and documentation print it."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def parse_options(model: type[BaseModel], values: dict[str, str | None]) -> dict[str, Any]:
    """The values of `model` that were given on the command line; JSON lists and objects are parsed."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        text = values.get(name)
        if text is not None:
            found[name] = parse_value(text, field)
    return found


def parse_value(text: str, field: FieldInfo | None = None) -> Any:
    """Text as the user typed it -> the value for pydantic: JSON where it is a list or an object, ``none`` as None."""
    if text[:1] in "[{" and (field is None or field.annotation is not str):
        try:
            return load_json(text)
        except ValueError:
            return text
    if text.lower() in ("none", "null") and (field is None or type(None) in get_args(field.annotation)):
        return None
    return text


def run(main: Callable[[], None], step: str = "") -> None:
    """Call `main` and leave the process with its exit code, as `exit_status.run` does; a wrong command line is 2.

    Args:
        main: what to do.
        step: the name under which a failure is told to a parent process.
    """

    def checked() -> None:
        try:
            main()
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except click.exceptions.Abort:
            raise KeyboardInterrupt from None

    collect_garbage_rarely()
    exit_status.run(checked, step)


def step_command(
    step: str,
    summary: str,
    models: Sequence[type[BaseModel]],
    call: Callable[..., Any],
) -> click.Command:
    """The command `python -m components.<step>`.

    Args:
        step: the step's folder name.
        summary: first line of the help.
        models: settings models, in the order in which `call` takes them; the first usually holds the
            addresses (``--data``, ``--model``, ``--output``), the others the step's and the shared settings.
        call: receives one checked settings object per model.
    """

    def callback(**values: str | None) -> None:
        faults: list[str] = []
        checked: list[BaseModel] = []
        for model in models:
            try:
                checked.append(model.checked(parse_options(model, values)))  # type: ignore[attr-defined]
            except InputError as error:
                faults += [f"--{line}" for line in error.faults]
        if faults:
            raise InputError(faults)
        call(*checked)

    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return click.Command(
        name=f"python -m components.{step}",
        help=summary,
        params=[option for model in models for option in options(model)],
        callback=callback,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )


def main(command: click.Command, arguments: Sequence[str] | None = None) -> None:
    """Run a step's command with the exit codes of `run`."""
    step = (command.name or "").rpartition(".")[2]
    run(lambda: command.main(args=arguments, prog_name=command.name, standalone_mode=False), step)
