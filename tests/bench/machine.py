"""The machine and the programs of the measurement."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path


def describe() -> dict[str, str]:
    """Return the properties of the machine and the programs by name."""
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores{_virtual()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()} ({os.path.realpath(sys.executable)}, {platform.python_compiler()})",
        "system": _system(),
        "nsbroker": importlib.metadata.version("nsbroker"),
        "load before": f"{os.getloadavg()[1]:.2f}",
    }


def _cpu_lines(key: str) -> list[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return [line.split(":", 1)[1].strip() for line in lines if line.partition(":")[0].strip() == key]


def _processor() -> str:
    return (_cpu_lines("model name") or [platform.machine()])[0]


def _virtual() -> str:
    return ", virtual" if any("hypervisor" in flags.split() for flags in _cpu_lines("flags")) else ""


def _system() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown system")
