"""The units for services in a namespace are valid, and give no power."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.checkout import DEPLOY

SERVICES = DEPLOY / "services"
INSTALLED = "/opt/nsbroker/bin/nsbroker-get"
UNIT = (SERVICES / "web@.service").read_text()
DROP_IN = (SERVICES / "namespace.conf").read_text()
BASE = "[Service]\nExecStart=/bin/true\nDynamicUser=yes\n"

MAX_EXPOSURE = 6.0
"""A unit that only has DynamicUser= has 8."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as a reader installs them, where nsbroker-get is a program that every machine has."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    (tmp_path / "web@.service").write_text(UNIT.replace(INSTALLED, "/bin/true"))
    (tmp_path / "exporter.service").write_text(BASE)
    (tmp_path / "exporter.service.d").mkdir()
    (tmp_path / "exporter.service.d" / "namespace.conf").write_text(DROP_IN.replace(INSTALLED, "/bin/true"))
    return tmp_path


def verify(unit: Path) -> str:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    # Other units of this machine are read, too.
    ours = [line for line in done.stderr.splitlines() if "web@" in line or "exporter.service" in line]
    assert done.returncode == 0 or not ours, done.stderr
    return "\n".join(ours)


@pytest.mark.parametrize("name", ["web@.service", "exporter.service"])
def test_unit_is_valid(units: Path, name: str) -> None:
    assert verify(units / name) == ""


def test_drop_in_is_read_by_this_test(units: Path) -> None:
    """Otherwise, it would be valid whatever is in it."""
    with (units / "exporter.service.d" / "namespace.conf").open("a") as file:
        file.write("NoSuchKey=1\n")
    assert "Unknown key" in verify(units / "exporter.service")


def test_exposure_is_low(units: Path) -> None:
    line = ["systemd-analyze", "security", "--offline=true", "--no-pager", units / "web@.service"]
    table = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    found = re.search(r"exposure level for \S+: ([0-9.]+)", table)
    assert found is not None
    assert float(found[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("text", [UNIT, DROP_IN], ids=["unit", "drop-in"])
def test_service_has_no_power(text: str) -> None:
    """It starts after the broker's socket, and its only right is to ask the broker."""
    lines = text.splitlines()
    assert {"Wants=nsbrokerd.socket", "After=nsbrokerd.socket"} <= set(lines)
    assert {"CapabilityBoundingSet=", "NoNewPrivileges=yes"} <= set(lines)
    assert re.search("^SupplementaryGroups=nsbroker\\b", text, re.MULTILINE)
    assert "AmbientCapabilities" not in text
    assert "DynamicUser=yes" in lines or "ExecStart=" in lines
