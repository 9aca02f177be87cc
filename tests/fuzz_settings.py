"""Odd values for every setting, and mutated YAML files: each is taken or refused in plain lines.

Run by hand (``make fuzz``): ``python -m tests.fuzz_settings --inputs 30000``. A small slice with a fixed seed is among
the tests.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from pipeline.parameters import GROUPS, TOP_LEVEL, Settings, every_setting, load
from pipeline.run_form import run_inputs, settings_of
from sharpen.errors import InputError
from tests.fuzz_readers import limited
from tests.mutations import mutated

NAMES = [name for name, _ in every_setting()]
ODD_NAMES = [
    "",
    ".",
    "training",
    "training.",
    ".seed",
    "a.b.c",
    "x" * 5000,
    "training." + "y" * 5000,
    "\udcff",
    "naïve",
    "\x1b[31m",
]
VALUES = [
    *("", " ", "none", "null", "true", "no", "0", "-1", "1", "0.5", "1e999", "nan", "inf", "-0.0", "0x10", "1_000"),
    *("9" * digits for digits in (20, 400, 4301, 10_000)),
    *(
        "auto",
        "off",
        "s3://b/k",
        "s3://",
        "http://[::1",
        "~nobody/x",
        "x" * 10_000,
        "a\nb",
        "\x00",
        "\udcff",
        "{}{}",
        "{",
    ),
    *("[", "[" * 10_000, '{"a":' * 5000, "[]", "{}", "[1, 2]", "[[1]]", '{"a": 1}', '{"a": 1, "a": 2}', '["a", null]'),
    *("[NaN]", "[1e400]", "[" + "9" * 5000 + "]", "[" + "1," * 50_000 + "1]", '["\\ud800"]', "2021-13-45", "!!int abc"),
]
YAML = """model_name: mine
training:
  <<: {temperature: 0.05}
  train_group_size: &four 4
  matryoshka_dims: [64, 32]
evaluation: {cutoffs: [1, *four, 10, 100]}
data:
  seed: 7
"""
YAML_TOKENS = [
    *(
        "&a ",
        "*a",
        "*base",
        "!!int ",
        "!!float ",
        "!!timestamp x",
        "!!binary x",
        "!!set {a}",
        "!!omap [a: 1]",
        "!x ",
        "!!python/name:os.x ",
    ),
    *(
        "? ",
        ": ",
        "- ",
        "[",
        "{",
        "|",
        ">",
        "---\n",
        "...\n",
        "%YAML 9.9\n",
        "<<: ",
        "\t",
        "#",
        "'",
        '"',
        "0x" + "f" * 5000,
    ),
    *(
        "2021-13-45",
        "1:60:61",
        "0o9",
        "~",
        ".inf",
        ".nan",
        "[" * 300,
        "\x00",
        "\u2028",
        "&b [*b]",
        "@",
        "`",
        "9" * 5000,
    ),
]


def value_of(rng: random.Random) -> str:
    """An odd value, or a change of one."""
    value = rng.choice(VALUES)
    if rng.random() < 0.3:
        return mutated(value.encode("utf-8", "surrogateescape"), rng)[:20_000].decode("utf-8", "surrogateescape")
    return value


def assignments(rng: random.Random, _: Path) -> None:
    """One to three assignments on the command line."""
    made = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(NAMES) if rng.random() < 0.9 else rng.choice(ODD_NAMES)
        made.append(f"{name}={value_of(rng)}" if rng.random() < 0.98 else name)
    used(load(None, made))


def overrides(rng: random.Random, _: Path) -> None:
    """The run form's inputs."""
    given: dict[str, object] = {}
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(NAMES) if rng.random() < 0.9 else rng.choice(ODD_NAMES)
        value = value_of(rng)
        given[name] = rng.choice((value, [value], {"a": value}, 10 ** rng.randrange(400), -1, 1.5, None, True, []))
    text = json.dumps(given)
    if rng.random() < 0.3:
        text = mutated(text.encode(), rng).decode("utf-8", "replace")
    top = {rng.choice(TOP_LEVEL): value_of(rng)} if rng.random() < 0.2 else {}
    used(settings_of({**top, "overrides": text}))


def yaml_file(rng: random.Random, folder: Path) -> None:
    """A configuration file, and sometimes an assignment over it."""
    data = YAML.encode()
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        token = rng.choice(YAML_TOKENS).encode()
        data = data[:at] + token + data[at + rng.choice((0, 1, 5)) :] if rng.random() < 0.5 else mutated(data, rng)
    path = folder / "a.yaml"
    path.write_bytes(data)
    used(load(path, [f"{rng.choice(NAMES)}={value_of(rng)}"] if rng.random() < 0.3 else []))


def used(settings: Settings) -> None:
    """What every command does with settings."""
    for group in GROUPS:
        settings.group_json(group)
    settings.given_json()
    run_inputs(settings)
    settings.results_hash(1)


KINDS = {"assignments": assignments, "overrides": overrides, "yaml_file": yaml_file}


def fuzz(kind: str, inputs: range) -> tuple[Counter[str], list[str]]:
    """Load one odd input for each seed; outcomes, and a line for each failure."""
    outcomes, failures = Counter[str](), []
    with tempfile.TemporaryDirectory() as folder:
        for seed in inputs:
            outcome = "taken"
            try:
                with limited(10):
                    KINDS[kind](random.Random(f"{kind} {seed}"), Path(folder))
            except InputError as error:
                outcome = "refused"
                if any("\n" in line or len(line) > 3000 for line in error.faults):
                    outcome = "failed"
                    failures.append(f"{kind} {seed}: not one line a fault: {error.faults!r}"[:400])
            except Exception as error:
                outcome = "failed"
                last = traceback.extract_tb(error.__traceback__)[-1]
                failures.append(f"{kind} {seed}: {type(error).__name__}: {error} ({last.name}:{last.lineno})"[:400])
            outcomes[outcome] += 1
    return outcomes, failures


def main() -> None:
    """Fuzz all kinds, and leave with 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--inputs", type=int, default=30_000, help="inputs a kind")
    given = parser.parse_args()
    failed = 0
    for kind in KINDS:
        outcomes, failures = fuzz(kind, range(given.inputs))
        print(f"{kind}: {dict(sorted(outcomes.items()))}", *failures[:20], sep="\n  ", flush=True)
        failed += len(failures)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
