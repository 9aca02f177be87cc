"""Write what the documentation takes from the code: ``python -m pipeline.docs``.

docs/settings.md comes from the settings' models, docs/presets.md from the presets' files, docs/images/rooms.svg from
the layers that import-linter holds.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic.fields import FieldInfo

from components.command_line import describe_bounds, format_default
from pipeline.parameters import every_setting
from pipeline.presets.catalog import NAMES, explanation, preset_text
from pipeline.presets.choose import FEW, MANY
from pipeline.presets.data_facts import SAMPLE
from sharpen.data.source_settings import ClickSettings, SourceSettings

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "docs" / "settings.md"
PRESETS = ROOT / "docs" / "presets.md"
ROOMS = ROOT / "docs" / "images" / "rooms.svg"
HEAD = """# Settings

Made from the settings' models by `make settings`; `sharpen settings` prints the same. In a YAML file a group is a
mapping (`training: {temperature: 0.02}`); with `--set` and in the `overrides` of a run form its settings are written
`group.name` (`--set training.temperature=0.02`). A step by itself takes those of its own group as options
(`--temperature 0.02`).
An unknown name is an error.

"""
PRESETS_HEAD = f"""# Presets

Settings to begin with, for a kind of data or model. Made from the files of `pipeline/presets` by `make settings`.

```bash
sharpen presets                                   # what there is, and when each is right
sharpen presets show hundreds                     # one of them, as a file for --config
sharpen run --preset hundreds --set train_data=rows.jsonl
sharpen run --preset auto --set train_data=rows.jsonl
```

A preset stands over the defaults; a settings file (which may have `preset: hundreds` itself) stands over it, and
`--set` over all. Its name is on the plan's page, in the record of the run and in `sharpen runs list`.
`sharpen compile`, `submit`, `schedule add` and `tune` take `--preset`, too.

`auto` reads sizes, footers of Parquet files and the first {SAMPLE} rows, and says in a line what it saw and chose:

| what it sees | preset |
|---|---|
| documents, or rows without queries or labels | no-labels |
| a base model that is a decoder | decoder-lora |
| Python code | code |
| more than one language of a tenth of the sample | multilingual |
| fewer than {FEW:,} rows | hundreds |
| {MANY:,} rows and more, and a job with GPUs on a cluster | millions |
| anything else | tens-of-thousands |

On a machine without a GPU it also ends the training after an hour (`training.max_train_minutes`). For a cluster, files
in the store are not fetched: rows are estimated by their bytes, and the job's settings say what machine there is.

"""
WIDTH, HEIGHT, GAP = 860, 34, 10
STYLE = (
    "text{font:13px system-ui,sans-serif;text-anchor:middle}rect{fill:#e8eaf6;stroke:#5c6bc0}"
    ".outer{fill:#fff3e0;stroke:#fb8c00}"
)


def settings_page() -> str:
    """The page's text: what a setting is called, its default, what is allowed, and what it means."""
    return HEAD + markdown()


def presets_page() -> str:
    """The page of all presets: a table, then each with its explanation and settings."""
    table = ["| preset | when | cost |", "|---|---|---|"]
    sections = []
    for name in NAMES:
        lines = explanation(name)
        when, cost = (next(text for subject, text in lines if subject == wanted) for wanted in ("When", "Cost"))
        table.append(f"| [{name}](#{name}) | {when} | {cost} |")
        explained = [f"- **{subject}:** {text}" for subject, text in lines]
        settings = [line for line in preset_text(name).splitlines() if not line.startswith("#")]
        sections.append("\n".join([f"## {name}", "", *explained, "", "```yaml", *settings, "```"]))
    return PRESETS_HEAD + "\n".join(table) + "\n\n" + "\n\n".join(sections) + "\n"


def markdown() -> str:
    """All settings as Markdown: one table a group, and one of the settings of a source."""
    tables: dict[str, list[str]] = {}
    for name, field in every_setting():
        title = f"`{name.partition('.')[0]}.`" if "." in name else "Top level"
        tables.setdefault(title, []).append(_table_row(name, field))
    tables["A source of `train_data` or `eval_data`"] = [
        *(_table_row(name, field) for name, field in SourceSettings.model_fields.items() if name != "clicks"),
        *(_table_row(f"clicks.{name}", field) for name, field in ClickSettings.model_fields.items()),
    ]
    head = ["", "| setting | default | allowed | meaning |", "|---|---|---|---|"]
    return "\n\n".join("\n".join([f"## {title}", *head, *rows]) for title, rows in tables.items()) + "\n"


def _table_row(name: str, field: FieldInfo) -> str:
    default = "" if field.is_required() else format_default(field.get_default(call_default_factory=True)) or "(empty)"
    allowed, meaning = (text.replace("|", "\\|") for text in (describe_bounds(field), field.description or ""))
    return f"| `{name}` | {f'`{default}`' if default else 'required'} | {allowed} | {meaning} |"


def rooms_svg() -> str:
    """A drawing of the layers: a row imports what is below it, rooms in one row nothing of each other."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    outer, inner = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = [(name, "outer") for name in outer[:-1]] + [(names, "") for names in inner]
    boxes = []
    for row, (names, kind) in enumerate(rows):
        rooms = [name.strip() for name in names.replace(":", "|").split("|")]
        width = (WIDTH - GAP) / len(rooms) - GAP
        for column, name in enumerate(rooms):
            x, y = GAP + column * (width + GAP), GAP + row * (HEIGHT + GAP)
            boxes.append(
                f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="5"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + 22}">{name}</text>'
            )
    height = GAP + len(rows) * (HEIGHT + GAP)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n' + "\n".join(boxes) + "\n</svg>\n"
    )


if __name__ == "__main__":
    ROOMS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text(settings_page(), encoding="utf-8")
    PRESETS.write_text(presets_page(), encoding="utf-8")
    ROOMS.write_text(rooms_svg(), encoding="utf-8")
