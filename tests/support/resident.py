"""A process of another user that lives in a namespace, and that the same user can look into."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.inside import enter

CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000

_libc = ctypes.CDLL(None, use_errno=True)


def move_into_new(flags: int) -> None:
    """Move this process into new namespaces, by its CLONE_ flags."""
    if _libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def resident(uid: int, gid: int, namespace: str | None) -> Iterator[int]:
    """Run a process in the namespace of this path, or in a new unnamed one, and yield its pid."""

    def settle() -> None:
        move_into_new(CLONE_NEWNET) if namespace is None else enter(namespace)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)

    # After its exec the process belongs to its user, who can open /proc/PID/ns only then.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, preexec_fn=settle) as process:
        yield process.pid
        process.stdin.close() if process.stdin else None
