"""The exporter under systemd, as operation.md installs it: it serves the metrics, and has next to no power."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from support.documents import examples
from support.installed_service import SERVICE, Installed, command, systemctl
from support.waiting import wait_until

EXPORTER = "nsbrokerd-metrics.service"
MAX_EXPOSURE = 2.0
PATH = "/opt/nsbroker/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="module", autouse=True)
def _exporter(installed: Installed) -> Iterator[None]:
    [block] = [one for one in examples("sh vm") if f"enable --now {EXPORTER.removesuffix('.service')}" in one.text]
    command("env", f"PATH={PATH}", "bash", "-euxc", block.text)
    yield
    systemctl("stop", EXPORTER)  # it stays enabled until nsbrokerd uninstall, after all tests


def metrics() -> str:
    try:
        with urlopen("http://127.0.0.1:9758/metrics", timeout=60) as answer:
            return str(answer.read().decode())
    except URLError:
        return ""  # it still starts


def test_metrics_are_those_of_the_broker(installed: Installed) -> None:
    """Also after the broker was started again. The first question starts it."""
    wait_until(lambda: "nsbroker_up 1.0" in metrics())
    grants = re.search(r"^nsbroker_policy_grants ([0-9.]+)$", metrics(), re.MULTILINE)
    assert grants is not None
    assert float(grants[1]) > 0
    systemctl("restart", SERVICE)
    wait_until(lambda: "nsbroker_up 1.0" in metrics())


def test_exporter_has_no_rights(installed: Installed) -> None:
    pid = systemctl("show", "--property=MainPID", "--value", EXPORTER)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    assert "0" not in status["Uid"]
    assert [int(status[name][0], 16) for name in ("CapBnd", "CapPrm", "CapEff")] == [0, 0, 0]
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])


def test_exposure_of_the_exporter_is_low(installed: Installed) -> None:
    table = command("systemd-analyze", "security", "--no-pager", EXPORTER)
    found = re.search(rf"exposure level for {re.escape(EXPORTER)}: ([0-9.]+)", table)
    assert found is not None
    assert float(found[1]) <= MAX_EXPOSURE


def test_unit_of_the_exporter_has_no_mistake(installed: Installed) -> None:
    assert command("systemd-analyze", "verify", EXPORTER) == ""
