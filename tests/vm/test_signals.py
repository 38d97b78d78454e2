"""The signs that systemd and an administrator see of the installed service: rotation, a stale user, the watchdog."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import inside  # noqa: F401  # the child that is the member could not read it
from support.installed_service import SERVICE, Installed, command, systemctl, tcp
from support.waiting import wait_until

CONFIG = Path("/etc/nsbroker/nsbrokerd.toml")
GRANTS = Path("/etc/nsbroker/grants.d/signals.toml")
AUDIT = Path("/var/log/nsbroker/audit.json")
OVERRIDE = Path("/run/systemd/system/nsbrokerd.service.d/signals.conf")
STALE = '[[grant]]\nname = "stale"\nusers = ["shorttime"]\nnamespaces = ["*"]\nsockets = ["tcp"]\n'


@pytest.fixture(autouse=True)
def _files(installed: Installed) -> Iterator[None]:
    """Everything is as before after each test."""
    text = CONFIG.read_text()
    yield
    CONFIG.write_text(text)
    GRANTS.unlink(missing_ok=True)
    if OVERRIDE.exists():
        OVERRIDE.unlink()
        OVERRIDE.parent.rmdir()
    systemctl("daemon-reload")
    systemctl("restart", SERVICE)


def test_rotation_does_not_depend_on_the_configuration(installed: Installed) -> None:
    """The command of deploy/logrotate.d/nsbroker makes a new file, while a grant is broken."""
    CONFIG.write_text(CONFIG.read_text().replace("[audit]\n", f'[audit]\npath = "{AUDIT}"\n', 1))
    systemctl("restart", SERVICE)
    assert len(installed.open_as_member(tcp("@host"))) == 1
    GRANTS.write_text("[[grant]]\nnaem = 1\n")
    rotated = AUDIT.rename(AUDIT.with_suffix(".1"))
    systemctl("kill", "--kill-whom=main", "--signal=SIGUSR1", SERVICE)
    wait_until(AUDIT.exists)
    assert len(installed.open_as_member(tcp("@host"))) == 1
    for file in (rotated, AUDIT):
        assert [json.loads(line)["audit"] for line in file.read_text().splitlines()] == ["open"]


def test_stale_user_keeps_no_one_out(installed: Installed) -> None:
    """The service starts, serves the others, and warns. `check` fails with the same reason."""
    command("useradd", "shorttime")
    GRANTS.write_text(STALE)
    systemctl("restart", SERVICE)
    command("userdel", "shorttime")
    systemctl("restart", SERVICE)
    assert installed.state() == "active"
    assert len(installed.open_as_member(tcp("@host"))) == 1
    reason = "there is no user 'shorttime', so the grant does not cover it: create it, or remove its name"
    command("journalctl", "--sync")
    log = command("journalctl", "--unit", SERVICE, "--priority=warning", "--output=cat", "--no-pager")
    assert any(reason in line and '"left out"' in line for line in log.splitlines())
    done = subprocess.run(["nsbrokerd", "check"], capture_output=True, text=True, check=False)
    assert (done.returncode, reason in done.stderr) == (1, True)


def test_watchdog_is_fed_by_the_loop(installed: Installed) -> None:
    """A healthy broker runs on. One whose loop stands still is started again."""
    OVERRIDE.parent.mkdir(parents=True, exist_ok=True)
    OVERRIDE.write_text("[Service]\nWatchdogSec=10s\n")
    systemctl("daemon-reload")
    systemctl("restart", SERVICE)
    pid, seen = installed.pid, set()

    def is_fed() -> bool:
        seen.add(systemctl("show", "--property=WatchdogTimestampMonotonic", "--value", SERVICE))
        return len(seen) > 4

    wait_until(is_fed, 600)
    assert installed.pid == pid
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: installed.pid not in (0, pid), 600)
    assert len(installed.open_as_member(tcp("@host"))) == 1
