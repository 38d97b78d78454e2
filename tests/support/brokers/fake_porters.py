"""Porters without processes: they keep all files until the test lets them close."""

from __future__ import annotations

import os
import socket

from nsbrokerd.clients.porter import Owner

NOTHING = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
"""A socket that is never readable."""


class FakePorters:
    """`connections` have their owner and whether they have courtesy. `files` are others, with their owner."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Owner, bool]] = []
        self.files: list[tuple[int, Owner]] = []
        self.held = 0

    @property
    def connections(self) -> int:
        return len(self.waiting)

    def fileno(self) -> int:
        return NOTHING.fileno()

    def files_of(self, owner: Owner) -> int:
        return sum(one is owner for _, one in self.files)

    def drop(self, owner: Owner, connection: int, *, has_courtesy: bool) -> None:
        owner.closing += 1
        self.waiting.append((connection, owner, has_courtesy))

    def close(self, owner: Owner, fd: int) -> None:
        self.files.append((fd, owner))

    def sweep(self) -> None:
        """Do nothing."""

    finish = sweep

    def close_all(self) -> None:
        """Close what waits."""
        while self.files:
            os.close(self.files.pop()[0])
        while self.waiting:
            connection, owner, _ = self.waiting.pop()
            os.close(connection)
            owner.closing -= 1
