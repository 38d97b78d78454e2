"""Runs one part of a suite to its end, in one way: past tests that hang, and past tests that end the process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from outside.inside.steps import EXIT, IMPORT
from outside.lab import Lab, give_to_user
from support.users import USER

MAX_STARTS = 40
"""If a part hangs or crashes more often, its other tests count as not run."""

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a test: `passed`, `failed`, `skipped`, `hung`, `crashed`, and a text that says why."""

    word: str
    text: str = ""


Outcomes = dict[str, Outcome]


@dataclass(slots=True)
class Trial:
    """One part of a suite in one way.

    Attributes:
        command: the program and its arguments, as the unprivileged user.
        environment: its variables.
        directory: its current directory. Default: the user's own.
        limit_s: a step that takes longer is killed.
    """

    command: list[str]
    environment: dict[str, str]
    directory: Path | None
    limit_s: float
    outcomes: Outcomes = field(default_factory=dict)

    def run(self, lab: Lab, only: Iterable[str] | None = None) -> Outcomes:
        """Run the tests, or only those named, and return their outcomes. Start again after each hang or crash."""
        for _ in range(MAX_STARTS):
            before = len(self.outcomes)
            if self._run_once(lab, only) or len(self.outcomes) == before:
                break
        return self.outcomes

    def _run_once(self, lab: Lab, only: Iterable[str] | None) -> bool:
        """Run the tests that have no outcome yet. Return whether the process came to its end."""
        directory = Path(tempfile.mkdtemp(prefix="nsbroker-outside-"))
        directory.chmod(0o755)
        home, events, log = directory / "home", directory / "events", directory / "log"
        home.mkdir()
        events.touch()
        give_to_user(home)
        give_to_user(events)
        (directory / "done").write_text(json.dumps(sorted(self.outcomes)))
        if only is not None:
            (directory / "only").write_text(json.dumps(sorted(only)))
        variables = lab.environment(home) | {"OUTSIDE_DIRECTORY": str(directory)} | self.environment
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    self.command,
                    cwd=self.directory or home,
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                try:
                    hung = not _wait(process, events, self.limit_s)
                finally:
                    kill_users_processes()
                    process.wait()
            current = self._read(events)
            if events.stat().st_size == 0:
                current = IMPORT  # not even the runner has started
            if current == EXIT and not hung:
                return True
            if current is not None:
                word = "hung" if hung else "crashed"
                self.outcomes[current] = Outcome(word, f"status {process.returncode}\n{_end_of(log)}")
            return current == EXIT
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _read(self, events: Path) -> str | None:
        """Take over the outcomes, and return the step at which the process ended."""
        current = None
        for line in events.read_text().splitlines():
            event = json.loads(line)
            if event["outcome"] == "started":
                current = event["test"]
                continue
            # A test that occurs twice has passed if it passed both times.
            known = self.outcomes.get(event["test"])
            if known is None or known.word == "passed":
                self.outcomes[event["test"]] = Outcome(event["outcome"], event["text"])
            current = None
        return current


def _wait(process: subprocess.Popen[bytes], events: Path, limit_s: float) -> bool:
    """Wait for the process. Return False if its current step takes longer than the limit."""
    size, since = -1, time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
            return True
        if (now_size := events.stat().st_size) != size:
            size, since = now_size, time.monotonic()
        if time.monotonic() - since > limit_s:
            return False


def kill_users_processes() -> None:
    """End all processes of the unprivileged user. The user belongs to this run of the tests alone."""
    for _ in range(100):
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _owner(path) == USER]
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _owner(path: Path) -> int | None:
    """Return the user of a process, or None if it has ended."""
    try:
        status = (path / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return None if fields["State"].startswith("Z") else int(fields["Uid"].split()[0])


def _end_of(log: Path) -> str:
    return log.read_bytes()[-2000:].decode(errors="replace")
