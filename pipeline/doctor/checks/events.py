"""What the cluster warned of: the events of Sharpen's pods and jobs, which it keeps for about an hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pipeline.doctor.finding import CheckContext, Finding

SHOWN = 5


def check(context: CheckContext) -> Iterator[Finding]:
    """The latest warnings about objects named ``sharpen-...``, equal ones once."""
    for probe in context.probes:
        events = probe.request("GET", f"{probe.path()}/events", query={"fieldSelector": "type=Warning"})
        count: Counter[str] = Counter()
        latest: dict[str, str] = {}
        for event in sorted(events["items"], key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or ""):
            name = (event.get("involvedObject") or {}).get("name", "")
            if not name.startswith("sharpen-"):
                continue
            line = f"{event.get('reason', '')}: {' '.join((event.get('message') or '').split())}"
            count[line] += event.get("count") or 1
            latest.pop(line, None)
            latest[line] = name
        for line in list(latest)[-SHOWN:]:
            yield Finding("events", "warn", f"{line} ({latest[line]}, {count[line]} times)", "see what it names")
        if not latest:
            yield Finding("events", "pass", f"no warnings about Sharpen in namespace {probe.namespace}")
