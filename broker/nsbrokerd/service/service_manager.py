"""The protocols of the service manager: it passes the broker's socket, and the broker reports its state.

Source: sd_listen_fds(3), sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from .listener import ListenError

_LISTEN_FDS_START = 3


def take_activated(environment: Mapping[str, str]) -> socket.socket | None:
    """Take over the socket that a service manager passed, if it did.

    Raises:
        ListenError: it is not the one socket that the broker needs.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = environment.get("LISTEN_FDS", "0")
    if count != "1":
        raise ListenError(f"the service manager passed {count} sockets; configure one, by ListenSequentialPacket=")
    listener = socket.socket(fileno=_LISTEN_FDS_START)
    listener.set_inheritable(False)
    found = listener.family, listener.type, listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if found != (socket.AF_UNIX, socket.SOCK_SEQPACKET, 1):
        raise ListenError("the service manager passed a wrong socket; configure it by ListenSequentialPacket=")
    return listener


class ServiceManager:
    """The receiver at NOTIFY_SOCKET. If the variable is not set, notifications go nowhere."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path

    def ready(self, grants: int) -> None:
        """Report that the broker serves, after its start or after a reload. `grants` is the number of its grants."""
        self._send(f"READY=1\nSTATUS=serving (grants: {grants})")

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
            sock.sendto(state.encode(), socket.MSG_DONTWAIT, self._address)
