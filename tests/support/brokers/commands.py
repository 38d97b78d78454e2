"""The commands of nsbrokerd, for the broker of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from support.brokers.process import START_S, BrokerProcess


def command_line(broker: BrokerProcess, command: str, *arguments: str) -> list[str]:
    """Return the words of a command for this broker."""
    return [sys.executable, "-P", "-m", "nsbrokerd", command, "--config", str(broker.config_path), *arguments]


def run_command(broker: BrokerProcess, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command for this broker, which need not run."""
    line = command_line(broker, command, *arguments)
    return subprocess.run(line, capture_output=True, text=True, timeout=START_S, check=False)


def status_of(broker: BrokerProcess) -> dict[str, Any]:
    """Return what `nsbrokerd status --json` prints."""
    done = run_command(broker, "status", "--json")
    assert done.returncode == 0, done.stderr
    fields: dict[str, Any] = json.loads(done.stdout)
    return fields
