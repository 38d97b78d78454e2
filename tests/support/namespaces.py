"""Real network namespaces for tests, with names of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

PREFIX = f"nsbt{os.getpid()}-"
"""The names of this run's namespaces begin with this, so that two runs do not meet."""


@cache
def why_not() -> str | None:
    """Return the reason why this machine can't have namespaces, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the command ip (iproute2)"
    made = subprocess.run(["ip", "netns", "add", f"{PREFIX}try"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces can't be made here: {made.stderr.strip()}"
    delete(f"{PREFIX}try")
    return None


def ip(*args: str) -> str:
    """Return the output of the command, which must succeed."""
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(args)}: {done.stderr.strip()}"
    return done.stdout


def make(name: str) -> None:
    """Make a namespace whose loopback is up."""
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")


def delete(name: str) -> None:
    """Remove the name. The namespace itself lives as long as a socket is in it."""
    ip("netns", "delete", name)


def exists(name: str) -> bool:
    return os.path.exists(f"/run/netns/{name}")
