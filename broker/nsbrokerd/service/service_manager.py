"""The protocols of the service manager: it passes the broker's sockets, and the broker reports its state.

Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3), systemd.exec(5).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

from .listener import ListenError

_LISTEN_FDS_START = 3


CONTROL_NAME = "control"
"""FileDescriptorName= of the control socket."""


class Activated(NamedTuple):
    """The sockets that a service manager passed: the broker's own, and the control socket if there is one."""

    listener: socket.socket
    control: socket.socket | None


def take_activated(environment: Mapping[str, str], control_path: str) -> Activated | None:
    """Take over the sockets that a service manager passed, if it did.

    Args:
        environment: the variables of this process.
        control_path: tells the control socket if the sockets have no names. Container runtimes pass none on.

    Raises:
        ListenError: they are not those that the broker needs.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = environment.get("LISTEN_FDS", "0")
    names = environment["LISTEN_FDNAMES"].split(":") if "LISTEN_FDNAMES" in environment else None
    by_role: dict[bool, list[int]] = {False: [], True: []}
    for fd in range(_LISTEN_FDS_START, _LISTEN_FDS_START + (int(count) if count.isdecimal() else 0)):
        at = fd - _LISTEN_FDS_START
        if names is None:
            by_role[_address(fd) == control_path].append(fd)
        else:
            by_role[at < len(names) and names[at] == CONTROL_NAME].append(fd)
    if len(by_role[False]) != 1 or len(by_role[True]) > 1:
        raise ListenError(
            f"the service manager passed {count} sockets; configure one, by ListenSequentialPacket=,"
            f" and at most one more with FileDescriptorName={CONTROL_NAME}"
        )
    return Activated(_take(by_role[False][0]), _take(by_role[True][0]) if by_role[True] else None)


def _address(fd: int) -> str | None:
    """Return the path of a Unix socket, or None."""
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            address = sock.getsockname()
    except OSError:
        return None  # it is no socket, which `_take` refuses
    return address if isinstance(address, str) else None


def _take(fd: int) -> socket.socket:
    listener = socket.socket(fileno=fd)
    listener.set_inheritable(False)
    found = listener.family, listener.type, listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if found != (socket.AF_UNIX, socket.SOCK_SEQPACKET, 1):
        raise ListenError("the service manager passed a wrong socket; configure it by ListenSequentialPacket=")
    return listener


def is_journal(fd: int, environment: Mapping[str, str]) -> bool:
    """Return whether a descriptor is the stream to the journal that the service manager has opened."""
    status = os.fstat(fd)
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return how often the service manager expects a sign of life, in seconds, or None if it expects none."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() and int(text) else None


class ServiceManager:
    """The receiver at NOTIFY_SOCKET. If the variable is not set, notifications go nowhere."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path

    def ready(self, status: str) -> None:
        """Report that the broker serves, after its start or after a reload."""
        self._send(f"READY=1\n{_status(status)}")

    def show(self, status: str) -> None:
        """Show a line of text, for example in `systemctl status`."""
        self._send(_status(status))

    def alive(self) -> None:
        """Report that the broker's loop runs."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that the broker reads its files again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the broker finishes the requests in progress."""
        self._send("STOPPING=1\nSTATUS=finishing the requests in progress")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),  # the broker serves even if its service manager does not listen
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        ):
            sock.sendto(state.encode(errors="replace"), socket.MSG_DONTWAIT, self._address)


def _status(text: str) -> str:
    """Return a notification of a status. A line break in the text must not begin another one."""
    return "STATUS=" + " ".join(text.split())
