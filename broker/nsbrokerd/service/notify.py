"""Tells the service manager how far the broker is. Source: sd_notify(3)."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """Where NOTIFY_SOCKET points to; nobody when it is not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path

    def ready(self, status: str) -> None:
        """The broker serves; also after a reload."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The broker reads its files anew."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The broker finishes what is in flight."""
        self._send("STOPPING=1\nSTATUS=finishing what is in flight")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),  # the broker serves also when nobody wants to know
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        ):
            sock.sendto(state.encode(), socket.MSG_DONTWAIT, self._address)
