"""What the embedded store answers to those who have no keys: programs of this machine, and pages in a browser."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from pipeline.store import seaweedfs
from pipeline.store.server import BUCKET, EmbeddedStore
from tests.browser import BROWSER, answer, dom
from tests.sharpen.http_recorder import serving

pytestmark = [pytest.mark.store, pytest.mark.processes]

SECRET = b"the weights of the champion"
KEY = "models/champion.json"
# where S3, the filer, the volume server and the master show or change files
PATHS = (
    f"/{BUCKET}/{KEY}",
    f"/buckets/{BUCKET}/{KEY}",
    "/1,01",
    "/dir/assign",
    f"/col/delete?collection={BUCKET}",
    "/metrics",
    "/",
)
# by these the store only says that it is there
HARMLESS = re.compile(
    r"\A\s*\Z|Client sent an HTTP request to an HTTPS server|<Code>(AccessDenied|MethodNotAllowed|InvalidAction)</Code>"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path_factory.mktemp("answers") / "store") as opened:
        s3(opened).put_object(Bucket=BUCKET, Key=KEY, Body=SECRET)
        yield opened


def s3(store: EmbeddedStore):
    variables = store.env()
    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )


def listening(pid: int | None) -> dict[str, set[int]]:
    """Address -> ports on which a process listens, as the kernel says."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if match := re.match(r"socket:\[(\d+)\]", str(link.readlink())):
                inodes.add(match[1])
    found: dict[str, set[int]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                found.setdefault(address, set()).add(int(port, 16))
    return found


def is_untouched(store: EmbeddedStore) -> bool:
    return s3(store).get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == SECRET


def test_it_listens_on_this_machine_only_and_on_no_well_known_port(store: EmbeddedStore) -> None:
    (ports,) = listening(store.status().pid).values()
    assert set(listening(store.status().pid)) == {"0100007F"}
    assert all(port in seaweedfs.PORT_RANGE for port in ports)


def test_no_port_answers_a_request_without_keys(store: EmbeddedStore) -> None:
    (ports,) = listening(store.status().pid).values()
    assert len(ports) > 5
    for port in ports:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            for path in PATHS:
                headers = {"Origin": "http://evil.example", "Host": "evil.example"}
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                try:
                    connection.request(
                        method, path, body=b"overwritten" if method in ("PUT", "POST") else None, headers=headers
                    )
                    answer = connection.getresponse()
                    body = answer.read().decode(errors="replace")
                    assert HARMLESS.search(body), (port, method, path, body[:200])
                    assert answer.status >= 400, (port, method, path)
                except (http.client.HTTPException, OSError):
                    pass  # no HTTP at all
                finally:
                    connection.close()
    assert is_untouched(store)


def test_the_inner_servers_want_a_certificate(store: EmbeddedStore) -> None:
    (ports,) = listening(store.status().pid).values()
    own_port = int(store.status().endpoint.rpartition(":")[2])
    anyone = ssl.create_default_context()
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    for port in ports - {own_port}:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=anyone)
        with pytest.raises((OSError, http.client.HTTPException)):
            connection.request("GET", "/")
            connection.getresponse()
        connection.close()


PAGE = """<body><pre id=out></pre><script>
const ports = %(ports)s, paths = %(paths)s, seen = [];
function form(url) {
  const frame = document.createElement('iframe'); frame.name = 'f' + Math.random(); document.body.append(frame);
  const made = document.createElement('form');
  made.method = 'post'; made.enctype = 'multipart/form-data'; made.action = url; made.target = frame.name;
  const file = document.createElement('input'); file.name = 'file'; file.value = 'overwritten'; made.append(file);
  document.body.append(made); made.submit();
}
async function attack(port, path) {
  const url = 'http://127.0.0.1:' + port + path;
  const body = 'overwritten';
  const tries = [{}, {method: 'POST', body}, {method: 'PUT', body}, {method: 'DELETE'}];
  tries.push({mode: 'no-cors', method: 'POST', body});
  for (const options of tries) {
    try {
      const answer = await fetch(url, options);
      if (answer.type != 'opaque') seen.push([url, options.method, answer.status, await answer.text()]);
    } catch (error) {}
  }
  form(url);
}
Promise.all(ports.flatMap(port => paths.map(path => attack(port, path)))).then(() => setTimeout(() => {
  document.getElementById('out').textContent = 'done ' + JSON.stringify(seen);
  fetch('/done');
}, 1000));
</script></body>"""


@pytest.mark.skipif(not BROWSER, reason="no Chromium here; the same requests are made without it above")
def test_a_page_in_a_browser_cannot_read_overwrite_or_delete(store: EmbeddedStore, tmp_path: Path) -> None:
    (ports,) = listening(store.status().pid).values()
    page = (PAGE % {"ports": json.dumps(sorted(ports)), "paths": json.dumps(PATHS)}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the screen."""

    with serving(Handler) as address:
        shown = dom(f"{address}/", tmp_path)
    for url, method, status, body in answer(shown):
        assert HARMLESS.search(body), (url, method, body)
        assert status >= 400, (url, method)
    assert is_untouched(store)
