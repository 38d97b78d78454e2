"""One porter as the broker sees it: the orders that it has not carried out, and the files for the next one."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nsbroker.link import fdpass

from .porter_process import CLOSE, DONE, DROP, LOST, MAX_FILES, NAMESPACES, TAKE

MAX_PACKETS_AHEAD = 16
"""Packets that a porter has yet to take. For further ones it takes no order."""

HUNG_AFTER_S = 2.0
"""A porter that has worked at an order for so long takes no order for a packet meanwhile."""

_ORDERS_AHEAD = 8
GATHERED = 64
"""Files that wait here while the porter has several orders. They are sent together, because a packet with many takes
as much memory of the porter's socket as a packet with one."""

_ROOM_BYTES = 1 << 22
"""Room for orders: enough for all connections with unread descriptors that the kernel allows one user."""

_SO_SNDBUFFORCE = 32


class Owner(Protocol):
    """The person whose files are carried. `closing` is the number of its connections that are not closed yet."""

    uid: int
    closing: int
    is_named: bool


class File(NamedTuple):
    """A descriptor that a porter must close.

    Attributes:
        fd: the descriptor.
        owner: the person, if this is a connection.
        has_courtesy: whether the other end of a connection may still read its replies.
    """

    fd: int
    owner: Owner | None = None
    has_courtesy: bool = False


class Taken:
    """The descriptors of one packet, once the porter has them.

    Attributes:
        answer: the answer of the porter. None if there is none yet, or if the porter hangs.
        fds: network namespaces, which belong to the waiting intake.
    """

    __slots__ = ("_callback", "_is_abandoned", "answer", "fds", "is_late")

    def __init__(self) -> None:
        self.answer: bytes | None = None
        self.fds: list[int] = []
        self.is_late = False
        self._is_abandoned = False
        self._callback: Callable[[], None] | None = None

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call a function once, now or later."""
        if self.answer is None and not self.is_late:
            self._callback = callback
        else:
            callback()

    def abandon(self) -> None:
        """Close the descriptors that came, and those that may still come."""
        self._is_abandoned = True
        while self.fds:
            os.close(self.fds.pop())

    def end(self, answer: bytes | None, fds: Sequence[int] = ()) -> None:
        """Keep the answer and the descriptors. Without an answer, the waiting intake goes on without the porter."""
        self.is_late = self.is_late or answer is None
        self.answer = self.answer or answer
        self.fds += fds
        if self._is_abandoned:
            self.abandon()
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


@dataclass(slots=True, eq=False)
class _Order:
    """An order: to take a packet, or to close files. `began_at` is when the porter can have begun it."""

    began_at: float
    files: Sequence[File] = ()
    taken: Taken | None = None


class Porter:
    """The broker's end of a porter's connection.

    Attributes:
        sock: this end.
        is_named: whether a grant names its person.
        files: the number of files that it has yet to close and that are no connections.
        used_at: when it got its last order, or carried it out.
        is_hung: whether it has worked at an order for long.
    """

    def __init__(
        self, sock: socket.socket, clock: Callable[[], float] = time.monotonic, *, is_named: bool = True
    ) -> None:
        with contextlib.suppress(OSError):  # without CAP_NET_ADMIN, the default must do
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM_BYTES)
        self.sock = sock
        self.is_named = is_named
        self.files = 0
        self.used_at = clock()
        self.is_hung = False
        self._clock = clock
        self._orders: deque[_Order] = deque()
        self._waiting: list[File] = []

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do."""
        return not self._orders and not self._waiting

    @property
    def held(self) -> int:
        """The number of descriptors in this process that wait for an order."""
        return len(self._waiting)

    def take(self, connection: int, most: int) -> Taken | None:
        """Order the porter to take a packet with at most this number of descriptors. Return None if it can't now."""
        if self.is_hung or sum(order.taken is not None for order in self._orders) >= MAX_PACKETS_AHEAD:
            return None
        order = _Order(self._clock(), taken=Taken())
        return order.taken if self._send(TAKE + bytes((most,)), [connection], order) else None

    def put(self, file: File) -> list[File]:
        """Take over a file that it must close. Return the files that it can't get."""
        self._waiting.append(file)
        self.files += file.owner is None
        return self.send_waiting()

    def send_waiting(self, *, at_any_rate: bool = False) -> list[File]:
        """Order it to close the files that wait. Return the ones that it can't get.

        While it has several orders, further files wait until they are many.
        """
        lost: list[File] = []
        while self._waiting and (at_any_rate or len(self._orders) < _ORDERS_AHEAD or len(self._waiting) >= GATHERED):
            part, self._waiting = self._waiting[:GATHERED], self._waiting[GATHERED:]
            for has_courtesy in (True, False):
                files = [file for file in part if file.has_courtesy is has_courtesy]
                if files:
                    lost += self._send_files(DROP if has_courtesy else CLOSE, files)
        return lost

    def _send_files(self, order: bytes, files: list[File]) -> list[File]:
        if not self._send(order, [file.fd for file in files], _Order(self._clock(), files)):
            self.files -= sum(file.owner is None for file in files)
            return files
        for file in files:
            os.close(file.fd)
        return []

    def _send(self, packet: bytes, fds: list[int], order: _Order) -> bool:
        try:
            fdpass.lend_packet(self.sock, packet, fds, socket.MSG_DONTWAIT)
        except OSError:
            # Its room is full, it has ended, or the client nested sockets too deep, which kernels before 6.10 refuse.
            return False
        self.used_at = order.began_at
        self._orders.append(order)
        return True

    def hear(self) -> list[File] | None:
        """Read an answer. Return the files that it has closed, or None if it has ended."""
        try:
            answer, fds = fdpass.take_packet(self.sock, 1, MAX_FILES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except (OSError, fdpass.TruncatedError):
            return None
        if not answer:
            return None
        self.is_hung = False
        order = self._orders[0]
        if order.taken is not None and (answer != DONE or order.taken.answer is None):
            order.taken.end(LOST if answer == DONE else answer, fds)
        if answer not in (DONE, NAMESPACES):
            return []
        self._orders.popleft()
        self.used_at = self._clock()
        if self._orders:
            self._orders[0].began_at = self.used_at
        self.files -= sum(file.owner is None for file in order.files)
        return list(order.files)

    def look(self, now: float) -> None:
        """Let no request wait any longer if it hangs."""
        if self._orders and now - self._orders[0].began_at > HUNG_AFTER_S:
            self.is_hung = True
            for order in self._orders:
                if order.taken is not None and not order.taken.is_late:
                    order.taken.end(None)

    def end(self) -> tuple[list[File], list[File]]:
        """Close the connection to it. Return the files that wait, and the files that it had."""
        self.sock.close()
        for order in self._orders:
            if order.taken is not None and order.taken.answer is None:
                order.taken.end(LOST)
        return self._waiting, [file for order in self._orders for file in order.files]
