"""A /run/netns of one's own: a mount namespace with any number of network namespaces, all gone with its one process.

It is invisible outside, and thousands of mounts there do not slow down the rest of the machine.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from place import GRANTS, QUOTAS
from support.brokers.process import BrokerProcess
from support.inside import enter
from support.resident import CLONE_NEWNET, move_into_new
from workers import Worker, pin

_CLONE_NEWNS = 0x20000
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


class BrokerElsewhere(BrokerProcess):
    """A broker that has the /run/netns of another process."""

    def __init__(self, mounts_of: int) -> None:
        self._mounts_of = mounts_of
        super().__init__(GRANTS, QUOTAS)

    def command(self) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self._mounts_of}/ns/mnt", "--", *super().command()]


@contextmanager
def broker_with_namespaces(names: list[str], cpus: set[int]) -> Iterator[BrokerProcess]:
    """Run a broker in a mount namespace where /run/netns has exactly these entries."""
    with Worker(_make_all, names, uid=0) as holder:
        holder()  # they are made when this returns
        broker = BrokerElsewhere(holder.pid)
        try:
            broker.start()
            pin(broker.pid, cpus)
            yield broker
        finally:
            broker.close()


def _make_all(names: list[str]) -> Callable[[], None]:
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    move_into_new(_CLONE_NEWNS)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    os.makedirs("/run/netns", exist_ok=True)
    _mount("tmpfs", "/run/netns", "tmpfs", 0)
    for name in names:
        move_into_new(CLONE_NEWNET)
        path = f"/run/netns/{name}"
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
        _mount("/proc/self/ns/net", path, None, _MS_BIND)
    enter(home)
    return lambda: None


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    if _libc.mount(*texts, ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
