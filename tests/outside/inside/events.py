"""Writes one line for each step of a run, so that the watcher knows the current test at any moment.

The files in this directory run as the unprivileged user, without the rest of the tests.
"""

import json
import os
from pathlib import Path

_DIRECTORY = Path(os.environ["OUTSIDE_DIRECTORY"])


def _tests(name):
    """Return the tests that a file of the watcher lists, or None if there is no file."""
    path = _DIRECTORY / name
    return set(json.loads(path.read_text())) if path.exists() else None


_done, _only = _tests("done"), _tests("only")
_events = (_DIRECTORY / "events").open("a", buffering=1)
_pid = os.getpid()


def is_wanted(test: str) -> bool:
    """Return whether this run must run the test: another run may have done it."""
    return test not in (_done or ()) and (_only is None or test in _only)


def start(test: str) -> None:
    """Say that a test begins."""
    _write(test, "started", "")


def end(test: str, outcome: str, text: str = "") -> None:
    """Say that a test has passed, failed, or was skipped, and why."""
    _write(test, outcome, text)


def _write(test: str, outcome: str, text: str) -> None:
    if os.getpid() == _pid:  # A forked child of a test that runs on into the runner is not a second runner.
        _events.write(json.dumps({"test": test, "outcome": outcome, "text": text[-4000:]}) + "\n")


def run_prelude() -> dict:
    """Run the code that points the program at the namespace, if there is one, and return its names."""
    path = os.environ.get("OUTSIDE_PRELUDE")
    names = {"__name__": "prelude"}
    if path:
        exec(compile(Path(path).read_text(), path, "exec"), names)
    return names
