from __future__ import annotations

import os
import subprocess
import sys

from sharpen.registry.process_identity import has_ended, start_time, this_process


def test_a_living_process_has_not_ended() -> None:
    assert not has_ended(this_process())


def test_a_process_that_died_has_ended_also_while_nobody_has_fetched_its_exit_code() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    told = {**this_process(), "pid": str(child.pid), "started": start_time(child.pid) or ""}
    assert not has_ended(told)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(told)
    child.communicate()
    assert has_ended(told)


def test_another_process_of_the_same_number_is_another() -> None:
    assert has_ended({**this_process(), "started": "another time"})


def test_of_processes_elsewhere_nothing_is_known() -> None:
    assert not has_ended({**this_process(), "processes": "another machine", "pid": "1"})
    assert not has_ended({})
    assert not has_ended({"processes": this_process()["processes"], "pid": "x"})
