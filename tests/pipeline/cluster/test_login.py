"""Signing in through Dex's forms, which stand before Kubeflow's pages and API."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.cluster.api import connection
from pipeline.cluster.api.settings import ConnectionSettings
from tests.pipeline.cluster.conftest import Sharpen, only_line
from tests.pipeline.cluster.fake_kfp import LOGIN_PAGE
from tests.sharpen.http_recorder import serving


class Gateway(BaseHTTPRequestHandler):
    """What stands before Kubeflow: no session, no API; Dex's pages; oauth2-proxy's sign-in page where wanted."""

    protocol_version = "HTTP/1.1"
    password = "secret"
    sessions: set[str]
    signed_in: list[str]
    url: str
    with_proxy = False
    health = b"{}"

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        session = next((s for s in self.sessions if f"session={s}" in (self.headers.get("cookie") or "")), "")
        if path == "/dex/auth":
            self.page(b'<a href="/dex/auth/local">Email</a>')
        elif path == "/dex/auth/local":
            self.lead("/dex/auth/local/login?state=42")
        elif path == "/dex/auth/local/login":
            self.page(LOGIN_PAGE)
        elif path.startswith("/dex/auth/"):
            self.page(b"no such connector", status=404)
        elif path == "/dex/approval":
            self.page(b"<html>Grant Access</html>")
        elif path == "/oauth2/start":
            self.lead("/dex/auth?client_id=kubeflow")
        elif not session and self.with_proxy:
            self.page(b"<html>Sign in with Dex</html>", status=403)
        elif not session:
            self.lead("/dex/auth?client_id=kubeflow")
        elif path == "/apis/v2beta1/healthz":
            self.page(self.health, kind="application/json")
        elif path.startswith("/apis/"):
            self.page(b'{"experiments": []}', kind="application/json")
        else:
            self.page(b"<html>Kubeflow</html>")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        if urlsplit(self.path).path == "/dex/approval":
            assert form == {"approval": ["approve"]}
            session = f"s{len(self.signed_in)}"
            self.signed_in.append(session)
            self.sessions.add(session)
            self.lead("/", cookie=f"session={session}; Path=/")
        elif form == {"login": ["me@example.org"], "password": [self.password]}:
            self.lead("/dex/approval?req=1")
        else:
            self.page(b"<html>Invalid Email Address and password.</html>")

    def lead(self, target: str, cookie: str = "") -> None:
        self.send_response(303 if self.command == "POST" else 302)
        self.send_header("location", target)
        if cookie:
            self.send_header("set-cookie", cookie)
        self.send_header("content-length", "0")
        self.end_headers()

    def page(self, body: bytes, status: int = 200, kind: str = "text/html") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def gateway() -> Iterator[type[Gateway]]:
    class Fresh(Gateway):
        """Its state is of this test only."""

    Fresh.sessions, Fresh.signed_in = set(), []
    with serving(Fresh) as Fresh.url:
        yield Fresh


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_USERNAME", "me@example.org")
    monkeypatch.setenv("KFP_PASSWORD", "secret")


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("with_proxy", [False, True])
def test_signing_in_through_dex(gateway: type[Gateway], sharpen: Sharpen, with_proxy: bool) -> None:
    gateway.with_proxy = with_proxy
    done = sharpen("status", "--endpoint", gateway.url)
    assert (done.code, done.out) == (0, "no runs in the experiment sharpen yet; `sharpen submit` makes one\n")
    assert gateway.signed_in == ["s0"]
    assert "secret" not in done.out + done.err


@pytest.mark.usefixtures("account")
def test_a_session_that_ends_is_renewed_once(gateway: type[Gateway]) -> None:
    opened = connection.connect(ConnectionSettings.given(endpoint=gateway.url))
    gateway.sessions.clear()
    assert opened.call("list", opened.experiments.experiment_service_list_experiments) == {"experiments": []}
    assert gateway.signed_in == ["s0", "s1"]


@pytest.mark.usefixtures("account")
def test_a_wrong_password_and_another_connector(
    gateway: type[Gateway], sharpen: Sharpen, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.password = "another"
    done = sharpen("status", "--endpoint", gateway.url)
    assert (done.code, done.err) == (
        2,
        f"error: {gateway.url}/dex/auth/local/login: KFP_USERNAME and KFP_PASSWORD are not accepted\n",
    )
    monkeypatch.setenv("KFP_DEX_CONNECTOR", "ldap")
    assert "no form named 'ldap'" in only_line(sharpen("status", "--endpoint", gateway.url).err)


@pytest.mark.usefixtures("account")
def test_the_pages_answer_for_the_api_in_words_of_their_own(gateway: type[Gateway], sharpen: Sharpen) -> None:
    gateway.health = b'{"apiServerReady": true, "apiServerMultiUser": true}'
    assert "name your namespace" in only_line(sharpen("status", "--endpoint", gateway.url).err)
    gateway.health = b'{"apiServerReady": false}'
    done = sharpen("status", "--endpoint", gateway.url)
    assert (done.code, "its API is not ready" in done.err) == (1, True)


def test_without_a_name_the_way_to_sign_in_is_told(gateway: type[Gateway], sharpen: Sharpen) -> None:
    done = sharpen("status", "--endpoint", gateway.url)
    assert done.code == 2
    assert "answers with a login page: set one of KFP_TOKEN" in only_line(done.err)
