"""Pages as a browser shows them: Chromium without a screen, where the machine has it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
_MEASURE = """<!doctype html><meta charset="utf-8"><body><pre></pre><script>
const pages = %s, told = [];
document.addEventListener("securitypolicyviolation", event => told.push({violated: event.blockedURI}));
async function show(name, page, width) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  frame.srcdoc = page;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const inside = frame.contentDocument;
  const wide = [...inside.querySelectorAll("main *")].filter(
    one => !one.closest("svg, .wide table") && one.getBoundingClientRect().right > width + 1);
  told.push({name, width, scrolls: inside.documentElement.scrollWidth, text: inside.body.innerText.length,
    wide: wide.map(one => `${one.tagName}.${one.className}: ${one.textContent.slice(0, 60)}`),
    heading: inside.querySelector("h1") ? inside.querySelector("h1").innerText : "",
    fetched: frame.contentWindow.performance.getEntriesByType("resource").map(one => one.name)});
}
(async () => {
  for (const [name, page] of Object.entries(pages)) for (const width of %s) await show(name, page, width);
  document.querySelector("pre").textContent = "done " + JSON.stringify(told);
})();
</script>"""


def dom(url: str, profile: Path) -> str:
    """The document of an address once its scripts have run; `profile` is a folder for the browser's own files."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=30000"]
    command += [f"--user-data-dir={profile}", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout


def answer(document: str) -> Any:
    """What a page's script left as ``done <JSON>`` in its pre element."""
    told = re.search(r"done (\[.*?\])</pre>", document, re.DOTALL)
    assert told, document[-2000:]
    return json.loads(html.unescape(told[1]))


def measure(pages: Mapping[str, str], widths: tuple[int, ...], folder: Path) -> list[dict[str, Any]]:
    """Each page in a frame of each width, as Kubeflow's UI shows it.

    Returns:
        name, width, ``scrolls`` (width that it needs), ``wide`` (elements beyond the frame), ``heading``, length of its
        ``text``, ``fetched`` (what it asked for).
    """
    written = json.dumps(dict(pages)).replace("</", "<\\/").replace("<!--", "<\\!--")
    (folder / "pages.html").write_text(_MEASURE % (written, json.dumps(widths)), encoding="utf-8")
    return answer(dom((folder / "pages.html").as_uri(), folder / "profile"))
