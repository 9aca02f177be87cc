"""Run the steps of a local run in containers: the images of a cluster, tried on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sharpen.errors import InputError, StepFailed
from sharpen.store.download_cache import CACHE_VARIABLE, cache_folder
from sharpen.uri import is_remote

# Variables of this machine that mean the same in a container; where the store is, who may use it, how to reach the hub.
_PASSED_ON = ("AWS_", "HF_", "SHARPEN_")
_PASSED_ON_NAMES = ("OMP_NUM_THREADS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@contextlib.contextmanager
def steps_in_containers(folder: Path, inputs: Sequence[str], variables: Mapping[str, str]) -> Iterator[Any]:
    """A runner for `kfp.local.init` whose steps run in containers with the rights that a restricted cluster gives them.

    They run as the caller's user without capabilities, with a read-only root and the network of this machine (the
    embedded store listens on 127.0.0.1). They see the working folder and local inputs, read-only, and write to the
    run's folder, its ``tmp``, and the download caches.

    Args:
        folder: the run's folder.
        inputs: what the steps read, as `parse_sources` takes it; what is on this machine is made visible.
        variables: environment variables of the steps, beside those that this machine has for store and hub.

    Raises:
        InputError: no container engine answers.
        StepFailed: from the run, if the engine refuses a container.
    """
    engine = _engine()
    from kfp import local
    from kfp.local import docker_task_handler as handler

    temporary = folder / "tmp"
    temporary.mkdir()
    caches = {CACHE_VARIABLE: cache_folder(), "HF_HOME": _hub_cache()}
    environment = _environment() | dict(variables) | {name: str(place) for name, place in caches.items()}
    volumes = {str(place): {"bind": str(place), "mode": "ro"} for place in _read(inputs, environment)}
    for place in (folder, *caches.values()):
        volumes[str(place)] = {"bind": str(place), "mode": "rw"}
    volumes[str(temporary)] = {"bind": "/tmp", "mode": "rw"}  # noqa: S108

    def run(client: Any, image: str, command: list[str], volumes: Mapping[str, Any], **options: Any) -> int:
        # kfp's own lets go of a container that ends at once, and takes it for a success
        options["environment"] = environment | dict(options.get("environment") or {})
        with _refusals_told(image):
            container = client.containers.run(
                image, command, detach=True, volumes=given | dict(volumes), working_dir=str(Path.cwd()), **options
            )
        try:
            for line in container.logs(stream=True):
                print(line.decode(errors="replace"), end="")
            return int(container.wait()["StatusCode"])
        finally:
            container.remove(force=True)

    given, original = volumes, handler.run_docker_container
    handler.run_docker_container = run
    try:
        yield local.DockerRunner(
            user=f"{os.getuid()}:0",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            network_mode="host",
            shm_size="1g",
        )
    finally:
        handler.run_docker_container = original
        engine.close()


def _engine() -> Any:
    """A client of the engine that `DOCKER_HOST` names, or of Docker on this machine."""
    try:
        import docker
        import docker.errors
    except ModuleNotFoundError as error:
        raise InputError(
            "--image: to run steps in containers, install the package docker: pip install 'sharpen[containers]'"
        ) from error
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        raise InputError(
            "--image: no container engine answers; start Docker, or `podman system service` and name its socket in "
            f"DOCKER_HOST ({error})"
        ) from error
    return client


@contextlib.contextmanager
def _refusals_told(image: str) -> Iterator[None]:
    import docker.errors

    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise StepFailed(f"image {image} is not here and cannot be pulled: {error.explanation or error}") from error
    except docker.errors.APIError as error:
        raise StepFailed(f"the container engine refused the container: {error.explanation or error}") from error


def _environment() -> dict[str, str]:
    passed = {
        name: value
        for name, value in os.environ.items()
        if (name.startswith(_PASSED_ON) and not name.endswith(("_HOME", "_CACHE"))) or name.upper() in _PASSED_ON_NAMES
    }
    return passed | {"PYTHONUNBUFFERED": "1"}


def _hub_cache() -> Path:
    named = os.environ.get("HF_HOME")
    folder = Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "huggingface"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(inputs: Sequence[str], environment: Mapping[str, str]) -> set[Path]:
    """Places of this machine that steps read: the working folder, local inputs, files that a variable names."""
    from sharpen.data.source_settings import addresses_in

    named = {Path(value) for value in environment.values() if value.startswith("/")}
    addresses = [address for text in inputs for address in addresses_in(text)]
    local = {Path(address).expanduser().absolute() for address in addresses if not is_remote(address)}
    return {Path.cwd()} | {path for path in named if path.is_file()} | {path for path in local if path.exists()}
