from __future__ import annotations

import shutil
import sys

import pytest

import outside
from outside.lab import NAME, lab
from outside.trial import Trial
from support import namespaces
from support.users import USER, can_start_programs

TESTS = """
import os, signal, socket, subprocess, time, pytest

def test_passes(): pass
def test_fails(): assert not "the reason"
def test_skips(): pytest.skip("another reason")
def test_hangs():
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    time.sleep(1000)
def test_ends_the_process(): os.kill(os.getpid(), signal.SIGKILL)
@pytest.mark.parametrize("number", [1, 2])
def test_comes_last(number): assert os.getuid() == %d
def test_has_only_the_loopback(): assert [name for _, name in socket.if_nameindex()] == ["lo"]
"""


@pytest.fixture
def suite(open_directory):
    """The directory of the tests, and that of the runner."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    if not can_start_programs():
        pytest.skip("other users can't read this Python")
    inside = open_directory / "inside"
    shutil.copytree(f"{outside.__path__[0]}/inside", inside)
    (open_directory / "test_it.py").write_text(TESTS % USER)
    return open_directory


def test_the_other_tests_go_on_after_one_that_hangs_and_one_that_ends_the_process(suite):
    """And the processes that a hung test has started end with it."""
    with lab() as place:
        command = place.native(sys.executable, "-P", f"{suite}/inside/run_pytest.py", "test_it.py")
        trial = Trial(command, {"PYTHONPATH": f"{suite}/inside"}, suite, limit_s=5)
        outcomes = trial.run(place)
        again = Trial(command, {"PYTHONPATH": f"{suite}/inside"}, suite, limit_s=5)
        only = again.run(place, only=["test_it.py::test_fails"])
    words = {test.removeprefix("test_it.py::test_"): outcome.word for test, outcome in outcomes.items()}
    assert words == {
        "(import)": "passed",
        "passes": "passed",
        "fails": "failed",
        "skips": "skipped",
        "hangs": "hung",
        "ends_the_process": "crashed",
        "comes_last[1]": "passed",
        "comes_last[2]": "passed",
        "has_only_the_loopback": "passed",
    }
    assert "the reason" in outcomes["test_it.py::test_fails"].text
    assert [outcome.word for outcome in only.values()] == ["passed", "failed"]
    assert not namespaces.exists(NAME)
