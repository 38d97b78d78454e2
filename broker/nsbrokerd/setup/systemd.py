"""Tells systemd about new units and grants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .report import Report
from .tools import run_one_of

SERVICE = "nsbrokerd.service"
WANTS = Path("/etc/systemd/system/sockets.target.wants")
WANTS_SERVICES = Path("/etc/systemd/system/multi-user.target.wants")
_RUNTIME = Path("/run/systemd/system")
"""It exists exactly if systemd is the first process: sd_booted(3)."""


def is_running() -> bool:
    """Return whether this host runs systemd."""
    return _RUNTIME.is_dir()


def state_of(unit: str) -> str:
    """Return the state of a unit, for example "active"."""
    return _systemctl("show", "--property=ActiveState", "--value", unit)


def start(units: Sequence[str], report: Report) -> None:
    """Start the sockets among the units, and take over changed units."""
    sockets = [unit for unit in units if unit.endswith(".socket")]
    with report.step(", ".join(sockets)):
        # Also if this run changed no unit: an earlier one may have been interrupted.
        _systemctl("daemon-reload")
        inactive = [unit for unit in sockets if state_of(unit) != "active"]
        for unit in sockets:
            if unit not in inactive:
                report.unchanged("unchanged", unit, "active")
        running = [unit for unit in units if unit not in sockets and state_of(unit) == "active"]
        if running and (inactive or report.has_changed):
            # A socket can start only while its service is stopped. systemd has the right order for one command.
            _systemctl("restart", *inactive, *running)
            for unit in running:
                report.changed("restarted", unit)
        elif inactive:
            _systemctl("start", *inactive)
        for unit in inactive:
            report.changed("started", unit)


def stop(units: Sequence[str], report: Report) -> None:
    """Stop these units."""
    active = [unit for unit in units if state_of(unit) not in ("inactive", "failed")]
    with report.step(", ".join(units)):
        if active:
            _systemctl("stop", *active)
        for unit in active:
            report.changed("stopped", unit)


def forget_removed_units(report: Report) -> None:
    """Let systemd notice that units are gone."""
    with report.step("systemd"):
        _systemctl("daemon-reload")


def reload_broker(report: Report) -> None:
    """Let the broker of this host take over its configuration."""
    if not is_running():
        report.unchanged("next", "reload the broker", "send it SIGHUP, because systemd does not run here")
        return
    if state_of(SERVICE) not in ("active", "reloading", "activating"):
        report.unchanged("unchanged", SERVICE, "not running, so it takes over the grants at its start")
        return
    with report.step(f"the reload of {SERVICE}"):
        _systemctl("reload", SERVICE)
        report.changed("reloaded", SERVICE)


def _systemctl(*arguments: str) -> str:
    """Return the output of systemctl.

    Raises:
        StepError: it fails.
    """
    return run_one_of(["systemctl", *arguments])
