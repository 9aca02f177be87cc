"""The ways to the API, and what is said when one is closed."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from pipeline.cluster.api import client, connection
from pipeline.cluster.api.errors import KfpError
from pipeline.cluster.api.settings import ConnectionSettings
from tests.pipeline.cluster import openapi
from tests.pipeline.cluster.conftest import ON_THE_STORE, Sharpen, only_line
from tests.pipeline.cluster.fake_kfp import LOGIN_PAGE, FakeKfp

ROOT = Path(__file__).parents[3]
NOBODY: dict[str, Any] = {"endpoint": "http://127.0.0.1:1", "ui": "", "credential_source": "", "sign_in": None}


def bearer(token: str) -> Callable[[dict[str, str]], bool]:
    return lambda headers: headers.get("authorization") == f"Bearer {token}"


def test_port_forward_needs_no_credentials(kfp: FakeKfp, on: Sharpen) -> None:
    assert on("status").code == 0
    assert not {"authorization", "cookie"} & set(kfp.calls[0].headers)


def test_a_token_from_the_environment(kfp: FakeKfp, on: Sharpen, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.accepts = bearer("right-token")
    assert only_line(on("status").err).endswith("or reach the API by kubectl port-forward")
    monkeypatch.setenv("KFP_TOKEN", "wrong-token")
    done = on("status")
    assert done.code == 2
    assert "what KFP_TOKEN gives is wrong or has expired" in only_line(done.err)
    monkeypatch.setenv("KFP_TOKEN", "right-token\n")
    done = on("submit", *ON_THE_STORE)
    assert done.code == 0, done.err
    assert "right-token" not in done.out + done.err
    assert "right-token" not in repr([call[:4] for call in kfp.calls])


def test_a_token_file_is_read_for_every_call(
    kfp: FakeKfp, on: Sharpen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    monkeypatch.setenv("KFP_TOKEN_FILE", str(file))
    seen = []

    def accepts(headers: dict[str, str]) -> bool:
        seen.append(headers["authorization"])
        file.write_text("second")
        return True

    kfp.accepts = accepts
    assert on("status").code == 0
    assert seen == ["Bearer first", "Bearer second"]
    file.unlink()
    assert "no token there" in only_line(on("status").err)


def test_a_pods_service_account_is_used_by_itself(
    kfp: FakeKfp, sharpen: Sharpen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token, namespace = tmp_path / "token", tmp_path / "namespace"
    token.write_text("of-the-pod")
    namespace.write_text("team-a\n")
    monkeypatch.setattr(connection, "POD_TOKEN", token)
    monkeypatch.setattr(connection, "POD_NAMESPACE", namespace)
    monkeypatch.setattr(connection, "IN_CLUSTER", kfp.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    kfp.accepts = bearer("of-the-pod")
    kfp.multi_user = True
    assert sharpen("status").code == 0
    assert kfp.made("ExperimentService_ListExperiments")[0].query["namespace"] == "team-a"
    kfp.refusal = 403
    token.write_text("of-somebody-else")
    assert "signed in by the pod's service account" in only_line(sharpen("status").err)


def test_cookies_from_the_environment(kfp: FakeKfp, on: Sharpen, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.accepts = lambda headers: headers.get("cookie") == "authservice_session=abc"
    monkeypatch.setenv("KFP_COOKIES", "authservice_session=abc")
    assert on("status").code == 0


def test_two_ways_to_sign_in_are_one_too_many(kfp: FakeKfp, on: Sharpen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_TOKEN", "secret-a")
    monkeypatch.setenv("KFP_COOKIES", "secret-b")
    done = on("status")
    assert only_line(done.err) == "KFP_TOKEN and KFP_COOKIES are set; leave only one way to sign in"
    monkeypatch.delenv("KFP_COOKIES")
    monkeypatch.setenv("KFP_PASSWORD", "secret-c")
    assert only_line(on("status").err) == "KFP_USERNAME and KFP_PASSWORD: set both or neither"
    monkeypatch.delenv("KFP_PASSWORD")
    monkeypatch.setenv("KFP_TOKEN", "two words")
    assert only_line(on("status").err) == "KFP_TOKEN: not a token; it must be one word"
    assert kfp.calls == []


def test_several_users_need_a_namespace(kfp: FakeKfp, on: Sharpen) -> None:
    kfp.multi_user = True
    assert "name your namespace with --namespace" in only_line(on("status").err)
    assert on("submit", *ON_THE_STORE, "--namespace", "team").code == 0
    (pipeline,) = kfp.state.pipelines.values()
    (experiment,) = kfp.state.experiments.values()
    assert pipeline["namespace"] == experiment["namespace"] == "team"


def test_one_user_needs_none(kfp: FakeKfp, on: Sharpen) -> None:
    # the server refuses a namespace in this mode
    assert on("submit", *ON_THE_STORE, "--namespace", "team").code == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"status": 200, "body": LOGIN_PAGE, "kind": "text/html"}, "answers with a login page"),
        ({"status": 302, "headers": {"location": "/dex/auth?client_id=x"}}, "answers with a login page"),
        ({"status": 301, "headers": {"location": "https://kf.example/"}}, "give that as the endpoint"),
        ({"status": 403, "body": b'{"code": 7, "message": "not allowed to list"}'}, "forbidden (403, not signed in)"),
        ({"status": 404, "body": b"404 page not found", "kind": "text/plain"}, "no Kubeflow Pipelines API there"),
        ({"status": 200, "body": b"[]"}, "not one of Kubeflow Pipelines"),
    ],
)
def test_a_closed_door_is_told_in_a_line(
    kfp: FakeKfp, on: Sharpen, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(connection, "HEALTH_PATIENCE_SECONDS", 0.05)
    kfp.misbehave(times=1000, **wrong)
    done = on("status")
    assert (done.code, done.out) == (2, "")
    lines = [line for line in done.err.splitlines() if not line.startswith("warning")]
    assert len(lines) == 1
    assert said in lines[0]


def test_a_server_that_fails_for_long_fails_the_command(
    kfp: FakeKfp, on: Sharpen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEALTH_PATIENCE_SECONDS", 0.05)
    kfp.misbehave(times=1000, status=503)
    done = on("status")
    assert done.code == 1
    assert "the server cannot do it now" in done.err


def test_nothing_listens(sharpen: Sharpen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEALTH_PATIENCE_SECONDS", 0.05)
    done = sharpen("status", "--endpoint", "http://127.0.0.1:1")
    lines = [line for line in done.err.splitlines() if not line.startswith("warning")]
    assert done.code == 2
    assert only_line("\n".join(lines)).startswith("http://127.0.0.1:1: nothing listens there")


def test_an_api_that_went_away_is_waited_for_and_no_fault_of_the_users(
    kfp: FakeKfp, on: Sharpen, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.misbehave(".*List.*", times=3, status=0)
    assert on("status").code == 0
    monkeypatch.setenv("SHARPEN_API_TIMEOUT", "0.3")
    kfp.misbehave(".*List.*", times=1000, status=0)
    done = on("status")
    assert done.code == 1
    assert done.err.endswith("given up after 0:00\n") and "cannot" in only_line(done.err)


def test_what_must_not_happen_twice_is_asked_again_only_before_it_was_sent() -> None:
    api, sent = client.Api(connection._client("http://127.0.0.1:1", ConnectionSettings()), **NOBODY), []
    pool = urllib3.PoolManager()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    def create(**options: Any) -> Any:
        sent.append(options["_request_timeout"])
        url = f"http://127.0.0.1:{port}/"
        return pool.request("POST", url, retries=False, timeout=urllib3.Timeout(1, 1), preload_content=False)

    def serve() -> None:
        time.sleep(0.5)
        with socket.create_server(("127.0.0.1", port)) as server:
            # a second request on the first connection would never be accepted here
            server.settimeout(20)
            for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", b""):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    assert api.call_without_retry("create it", create) == {}
    assert len(sent) > 1
    before = len(sent)
    # the server has read this one, and its answer is lost
    with pytest.raises(KfpError):
        api.call_without_retry("create it", create)
    assert len(sent) == before + 1
    thread.join()


@pytest.mark.parametrize("address", ["localhost:8080", "ftp://x", "http://me:secret@host", "http://"])
def test_an_address_that_is_none(sharpen: Sharpen, address: str) -> None:
    done = sharpen("status", "--endpoint", address)
    assert done.code == 2
    assert only_line(done.err).startswith("endpoint: ")
    assert "secret" not in done.err


def test_no_endpoint_tells_how_to_get_one(sharpen: Sharpen) -> None:
    assert "kubectl port-forward" in only_line(sharpen("status").err)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody trusts, with its key."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls folder") / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


def test_tls_with_an_authority_of_ones_own(certificate: Path, sharpen: Sharpen) -> None:
    openapi.needed()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeKfp(context) as kfp:
        refused = sharpen("status", "--endpoint", kfp.url)
        assert refused.code == 2
        assert "its certificate is not trusted" in only_line(refused.err)
        assert "--ca-cert FILE" in refused.err
        assert sharpen("status", "--endpoint", kfp.url, "--ca-cert", str(certificate)).code == 0
        assert "no such file" in only_line(sharpen("status", "--endpoint", kfp.url, "--ca-cert", "gone").err)


def test_https_to_a_port_that_speaks_http(kfp: FakeKfp, sharpen: Sharpen) -> None:
    done = sharpen("status", "--endpoint", kfp.url.replace("http:", "https:"))
    assert (done.code, "write http:// instead" in only_line(done.err)) == (2, True)


def test_the_command_starts_without_kfp() -> None:
    program = (
        "import sys; import pipeline.cli; print([name for name in ('kfp', 'kfp_server_api') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
