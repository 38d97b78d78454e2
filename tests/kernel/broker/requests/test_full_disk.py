"""The audit's disk is full: one clear refusal for each operation, one error in the log, and a fault in the status."""

from __future__ import annotations

import mmap
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.brokers.process import BrokerProcess
from support.tool.running import RunTool, run_tool
from support.waiting import wait_until

NO_SPACE = "the broker hands out no answer, because the audit can't be written: No space left on device"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with room for one page."""
    options = f"size={mmap.PAGESIZE}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "nsbroker-test", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def operations(name: str) -> dict[str, list[str]]:
    """A command of the tool for each operation."""
    return {
        "open": [name, "socket", "--type", "udp", "--fd", "3", "--", "true"],
        "namespaces": ["list"],
        "explain": [name, "explain", "tcp"],
        "resolver": [name, "resolve", "www.example.org"],
    }


def fill(run: RunTool, commands: dict[str, list[str]]) -> None:
    """Ask until there is no room for the record of any operation."""
    for command in commands.values():
        while run(*command).err.strip() != f"nsbroker-get: {NO_SPACE}":
            pass


def test_full_disk_is_refused_clearly_and_shown(
    broker: BrokerProcess, make_namespace: Callable[..., str], small_disk: Path
) -> None:
    """Until there is room again. The broker needs neither a reload nor a restart."""
    broker.audit_path.unlink()
    broker.audit_path.symlink_to(small_disk / "audit")
    broker.reload()
    commands = operations(make_namespace())
    with run_tool(broker) as run:
        fill(run, commands)
        fault = "the audit: can't be written, so the broker hands out nothing: No space left on device"
        wait_until(lambda: fault in broker.status())
        errors = broker.log().count("No space left on device")
        for _ in range(3):
            for command in commands.values():
                assert run(*command) == (125, "", f"nsbroker-get: {NO_SPACE}\n")
        assert errors > 0
        assert broker.log().count("No space left on device") == errors
        subprocess.run(["mount", "-o", f"remount,size={64 * mmap.PAGESIZE}", str(small_disk)], check=True)
        assert run(*commands["open"]) == (0, "", "")
        wait_until(lambda: fault not in broker.status())
        assert '"event": "repaired"' in broker.log()
        assert run(*commands["namespaces"]).status == 0
