"""A container engine for the tests: podman, installed where that can be done, and a base image made on the spot.

No image is pulled. The base is a minimal Debian with Python, as `python:3.11-slim-bookworm` is, made from Debian's
packages; all else is built from the project's own Dockerfile.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORE = ROOT / "build" / "test-images"
BASE = "localhost/stand-in/python:3.11"
PROGRAMS = ("podman", "runc", "debootstrap")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# The base has no documentation and no translations, as the real one has none.
LEFT_OUT = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


class Engine:
    """podman with a store of its own.

    Args:
        folder: for its images; what is there already is used again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        # podman's own limits cannot be set where CAP_SYS_RESOURCE is missing; crun refuses hybrid control groups
        (folder / "containers.conf").write_text(
            f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc=32768:32768"]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        )
        self.environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
        self.command = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]

    def __call__(self, *arguments: str, timeout: float = 900, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of podman."""
        done = subprocess.run(
            [*self.command, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode:
            raise AssertionError(f"podman {arguments[0]}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, image: str, *command: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command as a random user, with a read-only root, without capabilities and network."""
        restricted = ["--user=1234567890:0", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        return self("run", "--rm", "--network=none", "--tmpfs=/tmp:mode=1777", *restricted, *options, image, *command)

    def size(self, image: str) -> int:
        """Bytes of all layers."""
        return int(self("image", "inspect", image, "--format", "{{.Size}}").stdout)

    def make_base(self) -> None:
        """Make the stand-in for the base image, unless it is there."""
        if self("image", "exists", BASE, check=False).returncode == 0:
            return
        archive = self.folder / "system.tar"
        packages = "ca-certificates,python3,python3-venv"
        # debootstrap takes no path with a space
        with tempfile.TemporaryDirectory(prefix="sharpen-base-", dir="/var/tmp") as folder:
            system = Path(folder) / "system"
            _sh("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(system))
            (system / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            left_out = [f"--exclude=./{name}/*" for name in LEFT_OUT]
            _sh("tar", "--create", "--directory", str(system), *left_out, "--file", str(archive), ".")
        changes = ["ENV=PATH=/usr/local/bin:/usr/bin:/bin", "ENV=LANG=C.UTF-8"]
        self("import", *(f"--change={change}" for change in changes), str(archive), BASE)
        archive.unlink()

    def build(self, target: str) -> str:
        """Build a target of the project's Dockerfile; returns the image's name."""
        name = f"localhost/sharpen-python-{target}:dev"
        arguments = [f"--build-arg={key}={value}" for key, value in _build_arguments().items()]
        mounts = [f"--volume={place}:{seen_as}:ro" for place, seen_as in _pip_of_this_machine(self.folder).items()]
        dockerfile = ["--file", str(ROOT / "images/Dockerfile"), "--ignorefile", str(ROOT / ".dockerignore")]
        self("build", "--network=host", *mounts, *arguments, *dockerfile, "--target", target, "--tag", name, str(ROOT))
        return name

    @contextmanager
    def service(self) -> Iterator[str]:
        """The engine's API on a socket, as a value of ``DOCKER_HOST``."""
        # the path of a socket is at most 108 bytes long
        socket = Path("/tmp") / f"sharpen-podman-{os.getpid()}.sock"
        process = subprocess.Popen(
            [*self.command, "system", "service", "--time=0", f"unix://{socket}"], env=self.environment
        )
        try:
            end = time.monotonic() + 30
            while not socket.exists():
                assert process.poll() is None, "podman system service ended"
                assert time.monotonic() < end, "podman system service made no socket"
                time.sleep(0.05)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait(30)
            socket.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the store, so that its folder can be removed."""
        self("image", "prune", "--force", check=False)
        subprocess.run(["umount", str(self.folder / "root/overlay")], capture_output=True)


def install() -> str:
    """Install podman where it is missing and can be had; returns why that cannot be done, or nothing."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if os.getuid() != 0:
        return "images are built as root only: debootstrap makes device nodes and owners"
    if not missing:
        return ""
    if shutil.which("apt-get") is None:
        return f"no {', '.join(missing)} here, and no apt-get to install them"
    quiet = {"capture_output": True, "text": True, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], **quiet, check=False)
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing]
    done = subprocess.run(install, **quiet, check=False)
    if done.returncode:
        return f"no container engine: apt-get install {' '.join(missing)} failed: {done.stderr.strip()[-300:]}"
    return ""


def _build_arguments() -> dict[str, str]:
    # the machine's own pip configuration says where a wheel of torch for CPUs is
    index = os.environ.get("TORCH_CPU_INDEX", "")
    return {"PYTHON_IMAGE": BASE, "TORCH_CPU_INDEX": index, "VERSION": "0.1.0", "REVISION": "test"}


def _pip_of_this_machine(folder: Path) -> dict[str, str]:
    """place here -> place in the build: pip's settings, certificates, and the folders that the settings name.

    They are mounted while an image is built and are no part of it.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    options: dict[str, list[str]] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        found = options.setdefault(option, [])
        found += [part for part in value.strip("'\"").split() if part not in found]
    lines = [f"{option} = {' '.join(values)}" for option, values in options.items()]
    settings = folder / "pip.conf"
    settings.write_text("\n".join(["[global]", *lines, ""]))
    named = [Path(value.removeprefix("file://")) for values in options.values() for value in values]
    places = {str(place): str(place) for place in named if place.is_absolute() and place.exists()}
    if CERTIFICATES.exists():
        places[str(CERTIFICATES)] = str(CERTIFICATES)
    # an index's pages may point at files beside its folder
    for value in options.get("extra-index-url", []) + options.get("index-url", []):
        place = Path(value.removeprefix("file://")).parent
        if value.startswith("file://") and place.exists():
            places[str(place)] = str(place)
    return places | {str(settings): "/etc/pip.conf"}


def _sh(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{command[0]}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
