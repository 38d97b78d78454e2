"""Runs the tools of the host."""

from __future__ import annotations

import shutil
import subprocess

from .report import StepError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_one_of(*commands: list[str]) -> str:
    """Run the first of these commands that the host has. Return its output.

    Raises:
        StepError: it fails, or the host has no such command.
    """
    for name, *arguments in commands:
        if (program := shutil.which(name, path=PATH)) is None:
            continue
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603  # no shell
        if done.returncode != 0:
            reason = (done.stderr or done.stdout).strip().splitlines() or [f"it ended with status {done.returncode}"]
            raise StepError(f"{name}: {reason[0]}: correct this, then run this command again")
        return done.stdout.strip()
    names = " or ".join(name for name, *_ in commands)
    raise StepError(f"this host has no {names}: install it, then run this command again")
