"""A tab of Chromium without a screen, steered by its debugging protocol: real widths, real time, print and pictures.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import websocket

from tests.browser import BROWSER

AXE = Path(__file__).parents[1] / ".venv-axe" / "axe.min.js"
"""axe-core, where ``make axe`` has fetched it."""

_RUN_AXE = """(async () => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return {passes: found.passes.length, violations: found.violations.map(one => ({rule: one.id, impact: one.impact,
    nodes: one.nodes.slice(0, 4).map(node => `${node.target.join(" ")}: ${node.failureSummary}`)}))};
})()"""


class Tab:
    """A browser with one tab; `folder` is for its files, such as the pages that are shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += ["--remote-allow-origins=*", f"--user-data-dir={folder / 'tab-profile'}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.number, self.events = 0, []
        port_file, deadline = folder / "tab-profile" / "DevToolsActivePort", time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert time.monotonic() < deadline and self.process.poll() is None, "Chromium did not start"
            time.sleep(0.05)
        port, path = port_file.read_text().split("\n")[:2]
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=120)
        [page] = [one for one in self._send("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self.session = self._send("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)

    def _send(self, method: str, **values: Any) -> dict[str, Any]:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": values}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def open(self, page: str, width: int = 1000, *, script: str = "on") -> float:
        """Show a page; milliseconds from the navigation to the end of its load event, its own script run.

        Args:
            page: HTML.
            width: of the window.
            script: ``on``; ``off``: no script runs; ``free``: the page's policy does not count, as axe needs it.
        """
        file = self.folder / "page.html"
        file.write_text(page, encoding="utf-8")
        self._send("Emulation.setScriptExecutionDisabled", value=script == "off")
        self._send("Page.setBypassCSP", enabled=script == "free")
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self._send("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self._send("Page.navigate", url=file.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))
        # a second layout would be part of the first, if this did not wait for it
        return self.run(
            "document.body.offsetHeight, performance.timing.loadEventEnd - performance.timing.navigationStart"
        )

    def work(self, page: str) -> float:
        """Milliseconds that the page's main thread computes until `open` returns, whatever else the machine does."""
        self._send("Performance.enable", timeDomain="threadTicks")
        self.open(page)
        metrics = self._send("Performance.getMetrics")["metrics"]
        self._send("Performance.disable")
        return next(1000 * one["value"] for one in metrics if one["name"] == "TaskDuration")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited; the page's policy does not concern it."""
        answer = self._send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """What the browser logged of the page: what its policy stopped, and errors of its script."""
        found = [
            event["params"]
            for event in self.events
            if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]
        return [json.dumps(one)[:500] for one in found]

    def requests(self) -> list[str]:
        """The addresses that the page asked for, itself left out."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if one["type"] != "Document"]

    def axe(self) -> dict[str, Any]:
        """What axe-core finds on the page, which was opened with script ``free``, all that is folded opened."""
        self.run(AXE.read_text(encoding="utf-8") + "; 0")
        return self.run(_RUN_AXE)

    def picture(self, file: Path) -> None:
        """The whole page as a PNG."""
        shot = self._send("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def printed(self) -> bytes:
        """The page as a PDF."""
        return base64.b64decode(self._send("Page.printToPDF", printBackground=True)["data"])


def serious(found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The violations of `Tab.axe` that are serious or critical."""
    return [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
