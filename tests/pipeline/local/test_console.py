"""What a person sees of kfp.local's output."""

from __future__ import annotations

import io
from pathlib import Path

from pipeline.local.console import StepView
from sharpen.registry.outcome import Outcome

RAW = """12:00:00.123 - INFO - Executing task \x1b[96m'hard-negatives'\x1b[0m
12:00:00.124 - INFO - Streamed logs:

    [KFP Executor 2026-01-01 12:00:00,000 INFO]: Looking for component
    [KFP Executor 2026-01-01 12:00:00,000 INFO]: Got executor_input:
    {
            "inputs": {
                "settings": "{\\"brace\\": \\"}}\\"}"
            }
        }
    Encoding passages: 50 %
12:00:03.000 - INFO - Task \x1b[96m'hard-negatives'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
12:00:03.001 - INFO - Task \x1b[96m'hard-negatives'\x1b[0m outputs:
    Output: 's3://x'
----------------------------------------
12:00:04.000 - INFO - Task data-prep cache hit (key=abc); skipping
"""


def test_steps_are_headed_and_noise_goes_to_the_log_only(tmp_path: Path) -> None:
    screen, log = io.StringIO(), tmp_path / "log.txt"
    view = StepView(screen, log)
    for start in range(0, len(RAW), 7):  # however the text is cut
        view.write(RAW[start : start + 7])
    view.close()
    shown = screen.getvalue()
    assert shown.split() == [
        *("0:00", "hard-negatives", "Encoding", "passages:", "50", "%", "done", "in", "0:00"),
        *("0:00", "data-prep", "nothing", "changed:", "taken", "from", "an", "earlier", "run"),
    ]
    assert log.read_text() == RAW


def test_the_outcome_is_left_to_the_end_of_the_run(tmp_path: Path) -> None:
    screen, block = io.StringIO(), Outcome("m", "promote", ["the gain is enough"]).block("s3://b")
    view = StepView(screen, tmp_path / "log.txt")
    view.write(RAW.replace("    Encoding passages: 50 %\n", f"    before\n{block}\n    after\n"))
    view.close()
    assert screen.getvalue().split()[2:4] == ["before", "after"]
    assert block in (tmp_path / "log.txt").read_text()


def test_why_a_step_is_done_again_which_failed_first_and_that_the_disk_is_full(tmp_path: Path) -> None:
    screen = io.StringIO()
    view = StepView(screen, tmp_path / "log.txt")
    print("12:00:00.000 - INFO - not taken from the cache: s3://x/data_prep: no marker", file=view)
    for step in ("data-prep", "finish"):
        print(f"12:00:01.000 - INFO - Executing task '{step}'", file=view)
        print(f"    write failed: No space left on device ({step})", file=view)
        print(f"12:00:02.000 - INFO - Task '{step}' finished with status FAILURE", file=view)
    view.close()
    assert screen.getvalue().count("not taken from the cache: s3://x/data_prep: no marker; doing it again") == 1
    assert view.failed == "data-prep"
    assert view.full_disk == "write failed: No space left on device (data-prep)"
    assert (tmp_path / "log.txt").stat().st_mode & 0o777 == 0o600


def test_what_a_step_prints_of_foreign_text_commands_no_terminal(tmp_path: Path) -> None:
    screen = io.StringIO()
    view = StepView(screen, tmp_path / "log.txt")
    view.write(RAW.replace("50 %", "\x1b]0;title\x07 \x1b[2J name\rhidden \u202e"))
    view.close()
    assert r"Encoding passages: \x1b]0;title\x07 \x1b[2J name\rhidden \u202e" in screen.getvalue()
    assert "\x1b" not in screen.getvalue() and "\r" not in screen.getvalue()
