"""Ends the TCP connections of live sockets, in child processes: a program can make them wait forever.

To end a connection, the kernel waits for the socket's lock. A program that sends from memory which never becomes
readable, for example from a file on its own FUSE file system, keeps this lock, and no signal ends the wait. So each
user's connections end in a process of their own, and the caller waits only while that process makes progress.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..namespaces.finding import find_namespaces
from ..namespaces.netns import Gate
from ..seal import LiveSocket
from .sock_diag import end_each, open_diag

PATIENCE_S = 2.0
"""Seconds that the caller waits for one connection to end."""

_TCP_CLOSE = 7  # include/net/tcp_states.h

_REPORT_BYTES = 4
"""A child writes 0 for each socket that it ended, or an errno. A pipe keeps so few bytes together."""


class Outcome(NamedTuple):
    """Numbers of TCP sockets.

    Attributes:
        ended: the kernel has ended these.
        held: the kernel still waits for processes that use these.
        out_of_reach: no namespace of these can be found.
    """

    ended: int
    held: int
    out_of_reach: int


class Ending:
    """Ends connections. It skips users whose connections the kernel waits for already."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        # By namespace and user, the number of sockets that a child still waits for.
        self._held: dict[tuple[int, int], int] = {}

    def end(self, sockets: Sequence[LiveSocket]) -> Outcome:
        """End the connections of these sockets.

        Raises:
            OSError: the caller is not root, or the kernel can't end connections.
        """
        wanted: dict[int, dict[int, set[int]]] = {}
        for one in sockets:
            # A closed socket is in no list of the kernel, and has no connection to end.
            if one.protocol == socket.IPPROTO_TCP and one.type == socket.SOCK_STREAM and one.state != _TCP_CLOSE:
                wanted.setdefault(one.netns, {}).setdefault(one.uid, set()).add(one.cookie)
        children: list[_Child] = []
        for netns, _, fd in find_namespaces(self._gate, list(wanted)):
            for uid, cookies in wanted.pop(netns).items():
                if (netns, uid) not in self._held:
                    diag: socket.socket = self._gate.call_inside(fd, open_diag)
                    with diag:
                        children.append(_Child((netns, uid), diag, cookies))
        _await(children)
        self._held |= {child.whose: child.waiting for child in children if child.is_held}
        out_of_reach = sum(len(cookies) for users in wanted.values() for cookies in users.values())
        return Outcome(sum(child.ended for child in children), sum(self._held.values()), out_of_reach)


class _Child:
    """A process that ends the connections of one user in one namespace."""

    def __init__(self, whose: tuple[int, int], diag: socket.socket, cookies: Collection[int]) -> None:
        self.whose = whose
        self.waiting = len(cookies)
        self.ended = 0
        self.error = 0
        self.is_held = False
        self.deadline = time.monotonic() + PATIENCE_S
        self.reports, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _end_all(diag, cookies, writer)
            finally:
                os._exit(0)
        os.close(writer)

    def read_report(self) -> bool:
        """Read the next report, and return False at the end of the process."""
        report = os.read(self.reports, _REPORT_BYTES)
        if not report:
            os.waitpid(self._pid, 0)
            return False
        self.deadline = time.monotonic() + PATIENCE_S
        self.error = int.from_bytes(report, "little")
        if not self.error:
            self.ended += 1
            self.waiting -= 1
        return True


def _end_all(diag: socket.socket, cookies: Collection[int], writer: int) -> None:
    # This process may outlive the command, whose caller must not wait for the end of its output.
    silence = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(silence, fd)
    try:
        for _ in end_each(diag, cookies):
            os.write(writer, bytes(_REPORT_BYTES))
    except OSError as error:
        os.write(writer, (error.errno or 0).to_bytes(_REPORT_BYTES, "little"))


def _await(children: Sequence[_Child]) -> None:
    """Wait until each child has ended, or makes no progress.

    Raises:
        OSError: a child failed.
    """
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child.reports, selectors.EVENT_READ, child)
        while going := [key.data for key in selector.get_map().values()]:
            first_deadline = min(child.deadline for child in going)
            for key, _ in selector.select(max(0.0, first_deadline - time.monotonic())):
                if not key.data.read_report():
                    selector.unregister(key.fd)
                    going.remove(key.data)
            for child in going:
                if child.deadline <= time.monotonic():
                    child.is_held = True
                    selector.unregister(child.reports)
    for child in children:
        os.close(child.reports)
        if child.error:
            raise OSError(child.error, f"can't end connections: {os.strerror(child.error)}")
