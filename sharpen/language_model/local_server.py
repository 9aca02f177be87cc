"""A llama.cpp server on this machine, for as long as it is asked; it ends with this process."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sharpen.errors import InputError, StepFailed
from sharpen.http_api import ApiError
from sharpen.http_api.json_api import request
from sharpen.language_model.settings import LanguageModelSettings
from sharpen.processes.cores import available_cores
from sharpen.processes.parent_death import dies_with_parent
from sharpen.store import storage

PACKAGE_SCHEME = "python-package:"
START_SECONDS = 300.0
MODULE = "llama_cpp.server"
# tokens for the prompt besides those of passages and answer
_ROOM = 1024


@dataclass(frozen=True)
class LocalServer:
    """A server that was started.

    Attributes:
        address: of its API.
        process: itself.
        log: what it writes.
    """

    address: str
    process: subprocess.Popen[bytes]
    log: BinaryIO

    def check(self) -> None:
        """Raise StepFailed where it has ended: it is not waited for."""
        if (code := self.process.poll()) is None:
            return
        if code == -signal.SIGILL:
            raise StepFailed(
                "the llama.cpp server ended by an instruction that this processor does not know (SIGILL); install it "
                "again with CMAKE_ARGS=-DGGML_NATIVE=OFF pip install --no-cache-dir --force-reinstall llama-cpp-python"
            )
        raise StepFailed(f"the llama.cpp server ended with exit code {code}: {_last_line(self.log)}")


@contextmanager
def local_endpoint(settings: LanguageModelSettings, characters: int) -> Iterator[LocalServer]:
    """A server that has the model of the settings.

    Args:
        settings: the model, and its longest answer.
        characters: of the longest data in a request.

    Raises:
        InputError: llama-cpp-python is not installed, or there is no such model.
        StepFailed: the server ends, or does not start in time.
    """
    if importlib.util.find_spec(MODULE.partition(".")[0]) is None:
        raise InputError(
            f"{settings.group}.endpoint: local needs llama.cpp; pip install 'sharpen[generation]', or name an "
            "OpenAI-compatible endpoint such as http://vllm:8000/v1"
        )
    file, port = model_file(settings.model, f"{settings.group}.model"), _free_port()
    tokens = characters + settings.max_output_tokens + _ROOM
    options = ["--model", str(file), "--host", "127.0.0.1", "--port", str(port)]
    options += ["--n_ctx", str(tokens), "--n_threads", str(available_cores()), "--interrupt_requests", "false"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            dies_with_parent([sys.executable, "-P", "-m", MODULE, *options]),
            stdout=log,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SHARPEN_"))},
        )
        try:
            server = LocalServer(f"http://127.0.0.1:{port}/v1", process, log)
            _wait(server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def model_file(model: str, setting: str) -> Path:
    """The GGUF file that a `setting` names. Raises InputError: it is not there, or no such file."""
    if model.startswith(PACKAGE_SCHEME):
        name, _, inside = model.removeprefix(PACKAGE_SCHEME).partition("/")
        found = importlib.util.find_spec(name) if name.isidentifier() else None
        if found is None or not found.submodule_search_locations:
            raise InputError(
                f"{setting}: the package {name} is not installed; pip install {name.replace('_', '-')}, or "
                "name a GGUF file"
            )
        path = Path(next(iter(found.submodule_search_locations))) / inside
    else:
        path = storage.localize(model)
    if not path.is_file():
        raise InputError(f"{setting}: {model} is no file; with endpoint local name a GGUF file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{setting}: {model} is no GGUF file, which llama.cpp needs")
    return path


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def _wait(server: LocalServer) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        server.check()
        try:
            request("GET", f"{server.address}/models", seconds=5)
            return
        except ApiError:
            time.sleep(0.2)
    raise StepFailed(f"the llama.cpp server did not start in {START_SECONDS:.0f} s: {_last_line(server.log)}")


def _last_line(log: BinaryIO) -> str:
    log.seek(0)
    lines = log.read()[-5000:].decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it wrote nothing"
