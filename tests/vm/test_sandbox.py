"""The unit's sandbox, checked through the kernel, and by a program that tries to break out of the same sandbox."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsbrokerd.sockets.capabilities import KEPT
from support.checkout import TESTS
from support.installed_service import SERVICE, Installed, command, run_in_sandbox, systemctl
from support.users import GROUP, USER

MAX_EXPOSURE = 3.0
MAX_THREADS = 3

PROBE_RESULT = Path("/run/nsbroker/probe.json")
OTHERS_FILE = Path("/run/nsbroker-others-file")
PROBE_PROGRAM = TESTS / "support" / "programs" / "breakout.py"


def test_exposure_is_low(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    """`systemd-analyze security` counts it: 0 is a service without any power, and 10 is one with every power."""
    table = command("systemd-analyze", "security", "--no-pager", SERVICE)
    with capsys.disabled():
        print("\n" + "\n".join(line for line in table.splitlines() if not line.startswith("✓")))
    found = re.search(r"exposure level for nsbrokerd.service: ([0-9.]+)", table)
    assert found is not None
    assert float(found[1]) <= MAX_EXPOSURE


def test_kernel_has_what_the_unit_says(installed: Installed) -> None:
    """Capabilities, no new privileges, system calls filtered, descriptors, and no more threads than a few."""
    systemctl("start", SERVICE)
    found = installed.status()
    kept = sum(1 << number for number in KEPT.values())
    assert [int(found[name], 16) for name in ("CapBnd", "CapPrm", "CapEff")] == [kept] * 3
    assert (int(found["CapInh"], 16), int(found["CapAmb"], 16)) == (0, 0)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert int(found["Threads"]) <= MAX_THREADS
    limits = Path(f"/proc/{installed.pid}/limits").read_text()
    assert re.search(r"^Max open files +524288 +524288", limits, re.MULTILINE)


def test_nothing_limits_the_memory_of_sockets(installed: Installed) -> None:
    """Buffers of all sockets that were handed out are counted here."""
    systemctl("start", SERVICE)
    group = Path("/sys/fs/cgroup/system.slice") / SERVICE
    assert [(group / name).read_text().strip() for name in ("memory.max", "memory.high")] == ["max", "max"]


@pytest.fixture(scope="module")
def tried(installed: Installed) -> Iterator[dict[str, Any]]:
    """The results of a program that is started like the service, but is not the broker."""
    program = PROBE_RESULT.with_name("breakout.py")  # no home directory can be seen there
    program.write_bytes(PROBE_PROGRAM.read_bytes())
    OTHERS_FILE.touch(0o600)
    os.chown(OTHERS_FILE, USER, GROUP)
    try:
        run_in_sandbox(f"/usr/bin/python3 -I {program} {PROBE_RESULT} {OTHERS_FILE}")
        yield json.loads(PROBE_RESULT.read_text())
    finally:
        for path in (PROBE_RESULT, program, OTHERS_FILE):
            path.unlink(missing_ok=True)


REFUSED = {
    # By systemd's filter, or by the kernel's own rule for such memory (PR_SET_MDWE), which systemd 254 and newer use.
    "map memory that is writable and executable": "EPERM or EACCES",
    "make memory executable": "EPERM or EACCES",
    "enter a user namespace": "EPERM",
    "enter a mount namespace": "EPERM",
    "mount a file system": "EPERM",
    "open a socket of another family": "EAFNOSUPPORT",
    "trace a process": "EPERM",
    "load a module": "EPERM",
    "set the clock": "EPERM",
    "give a file to another user": "EPERM",
    "write to /etc": "EROFS",
    "write to /run": "EROFS",
    "write to /proc/sys": "EROFS",
    "write to the control group of all": "EROFS",
    "write to the pins of all": "EROFS",
    "read another user's file": "EACCES",
    "see a home directory": "EACCES",
    "open a disk": "ENOENT",
}


@pytest.mark.parametrize("what", REFUSED)
def test_sandbox_refuses_to(what: str, tried: dict[str, Any]) -> None:
    assert tried[what] in REFUSED[what].split(" or ")


ALLOWED = [
    "enter a network namespace",
    "make a control group of its own",
    "pin below its own directory",
    "make a bpf map",
    "write to /run/nsbroker",
    "write to the directory of the audit",
    "make sockets of all families of the policy",
]


@pytest.mark.parametrize("what", ALLOWED)
def test_sandbox_lets_it(what: str, tried: dict[str, Any]) -> None:
    assert tried[what] == "done"
