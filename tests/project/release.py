"""Check built packages: what is inside, and that they work in an environment of their own.

``python -m tests.project.release dist`` (`make release`) needs no package, but the package index.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("sharpen", "components", "pipeline")
SUFFIXES = (".py", ".typed", ".html", ".css", ".js", ".md", ".yaml", ".j2")
# What a person types first, with the requirements alone that the package names: no torch, no numpy.
COMMANDS = (
    ("sharpen", "--help"),
    ("sharpen", "settings"),
    ("sharpen", "compile", "--output", "pipeline.yaml"),
    ("python", "-c", "import sharpen; assert sharpen.finetune.__doc__; print(sharpen.__file__)"),
    ("python", "-m", "components.promotion", "--help"),
)


def expected_files() -> set[str]:
    """Every source, template, page and marker that git knows in the packages."""
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.splitlines() if name.endswith(SUFFIXES) and (ROOT / name).exists()}


def missing_files(package: Path) -> set[str]:
    """What a wheel (.whl) or source distribution (.tar.gz) lacks of the expected files."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return expected_files() - set(wheel.namelist())
    with tarfile.open(package) as source:
        return expected_files() - {name.partition("/")[2] for name in source.getnames()}


def check_in_fresh_environment(wheel: Path) -> None:
    """Install the wheel and run what a person types first; raises where something fails."""
    with tempfile.TemporaryDirectory(prefix="sharpen release ") as folder:
        venv.create(Path(folder) / "venv", with_pip=True)
        programs = Path(folder) / "venv" / "bin"
        lock = ["--constraint", str(ROOT / "requirements.lock")]
        # not the tree's own packages: pip would take them for installed
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run(
            [programs / "python", "-m", "pip", "install", "--quiet", *lock, wheel.resolve()], env=alone, check=True
        )
        for program, *arguments in COMMANDS:
            subprocess.run(
                [programs / program, *arguments], cwd=folder, env=alone, check=True, stdout=subprocess.DEVNULL
            )
        print(f"{wheel.name}: installs, and {len(COMMANDS)} commands work")


def main(folder: Path) -> None:
    """Check all packages in a folder."""
    wheels, sources = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if (len(wheels), len(sources)) != (1, 1):
        sys.exit(f"error: {folder}: expected one wheel and one source distribution")
    for package in (*wheels, *sources):
        if missing := missing_files(package):
            sys.exit(f"error: {package.name} lacks {', '.join(sorted(missing)[:10])}")
        print(f"{package.name}: all {len(expected_files())} files of the packages")
    check_in_fresh_environment(wheels[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
