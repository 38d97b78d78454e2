"""`Stock`: keeps sockets of namespaces ready, so that most calls take one without a request to the broker.

A socket leaves the stock only with a proof that its namespace has the name at this moment. The broker's reply has the
device and inode of the namespace. The socket keeps the namespace alive, so no other one can get this inode, and
lstat(2) of the name shows whether it still means the same one. This is true only if this process sees names appear and
disappear together with the broker, by mounts of one peer group. In any doubt, a socket is made fresh.
"""

from __future__ import annotations

import errno
import os
import socket
from _thread import _local
from bisect import bisect_left
from os import getegid, geteuid, getpid
from sys import byteorder
from time import monotonic

from ..wire.messages import SocketSpec
from ..wire.peer_groups import NETNS_DIRECTORY
from .errors import BrokerProtocolError, BrokerUnavailableError
from .lots import Lot, Owner, close_lots, keep
from .mounts import Groups, OwnMount
from .proof import COOKIE_BYTES

USED_FOR_S = 0.85
"""From the request for a socket, how long it can be used. It is closed before a second is over."""
_LAST_S = 1.0
"""Seconds. A lot is not larger than the number of sockets used in this time."""
_MOST_SHELVES = 1024

_FAMILIES = frozenset({int(socket.AF_INET), int(socket.AF_INET6)})
_STREAM, _DGRAM, _NONBLOCK = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM), int(socket.SOCK_NONBLOCK)
_KINDS = frozenset({(_STREAM, 0), (_STREAM, 6), (_DGRAM, 0), (_DGRAM, 17)})
"""TCP and UDP. Other sockets may get packets before a program has them (raw), or take long to close (packet)."""
_FREEBIND = frozenset({(0, 15, 1), (41, 78, 1)})
"""IP_FREEBIND and IPV6_FREEBIND. They take no grant, and mean the same at every moment."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol, TypeVar

    from ..wire.messages import OpenReply
    from .waiting import Waiting

    S = TypeVar("S", bound=socket.SocketType)

    class Source(Protocol):
        """The methods of `Broker` by which the stock gets its sockets."""

        def open(
            self, take_fd: Callable[[SocketSpec, int], S], specs: Sequence[SocketSpec], wait_s: float
        ) -> Waiting[list[S]]:
            """Open sockets."""

        def open_lot(self, spec: SocketSpec, count: int) -> Waiting[tuple[list[socket.SocketType], OpenReply]]:
            """Open sockets for a stock."""

        def is_unknown_key(self, error: BrokerProtocolError) -> bool:
            """Return whether the broker is too old."""


class _Shelf:
    """The sockets of one spec in one thread.

    Attributes:
        path: the name's entry.
        used: when sockets were used, in order.
        may_fill: a call takes the item out while it asks for a lot. One after the other does, so that no more than one
            lot is ready.
    """

    __slots__ = ("lot", "may_fill", "path", "used")

    def __init__(self, path: str) -> None:
        self.path = path
        self.lot: Lot | None = None
        self.used: list[float] = []
        self.may_fill: list[None] = [None]

    def claim(self) -> bool:
        """Return whether this call may ask for a lot. It must then put the item back."""
        try:
            self.may_fill.pop()
        except IndexError:
            return False
        return True

    def used_lately(self, now: float) -> int:
        """Return how many sockets were used in the last second."""
        old = bisect_left(self.used, now - _LAST_S)
        if old:
            del self.used[:old]
        return len(self.used)


class _ThisThread(_local):
    """The shelves and mounts of the calling thread. Another one may have other rights, or other mounts."""

    def __init__(self, directory: str) -> None:
        self.shelves: dict[SocketSpec, _Shelf] = {}
        self.mount = OwnMount(directory)


class _AllThreads:
    """The same for threads that are alike."""

    def __init__(self, directory: str) -> None:
        self.shelves: dict[SocketSpec, _Shelf] = {}
        self.mount = OwnMount(directory)


class Stock:
    """The sockets of one broker that are ready.

    Args:
        say: called once for each reason why there is no stock. Default: a `RuntimeWarning`.
        for_all_threads: all threads use the same stock. They must always have the same rights and mounts.
        directory: has the names of namespaces.
    """

    def __init__(
        self,
        say: Callable[[str], object] | None = None,
        *,
        for_all_threads: bool = False,
        directory: str = NETNS_DIRECTORY,
    ) -> None:
        self._say = say or _warn
        self._said: set[str] = set()
        self._at: _ThisThread | _AllThreads = _AllThreads(directory) if for_all_threads else _ThisThread(directory)
        self._directory = directory
        self._times_closed = 0
        self._foreign: Groups | None = None
        self._is_old_broker = False

    async def open(
        self, broker: Source, take_fd: Callable[[SocketSpec, int], S], spec: SocketSpec, wait_s: float, size: int
    ) -> list[S]:
        """Open one socket as `Broker.open` does, from stock if possible. `size` is the most sockets of a lot."""
        shelf = self._at.shelves.get(spec) or self._new_shelf(spec)
        if shelf is None:
            return await self._open_fresh(broker, take_fd, spec, wait_s)
        now = monotonic()
        sock = _take(shelf, now)
        if sock is None and shelf.claim():
            try:
                sock = _take(shelf, now)  # of a lot that has come meanwhile
                count = min(shelf.used_lately(now), size)
                if sock is None and count > 1 and (groups := self._groups(shelf)):
                    sock = await self._fill(broker, shelf, spec, count, now, groups)
            finally:
                shelf.may_fill.append(None)
        if sock is None:
            made = await self._open_fresh(broker, take_fd, spec, wait_s)
            shelf.used.append(now)
            return made
        shelf.used.append(now)
        fd = sock.detach()
        try:
            return [take_fd(spec, fd)]
        except BaseException:
            try:  # noqa: SIM105  # contextlib is a slow import
                os.close(fd)
            except OSError:
                pass  # As in `take_sockets`: an interrupt right after `take_fd` has closed it.
            raise

    async def _open_fresh(
        self, broker: Source, take_fd: Callable[[SocketSpec, int], S], spec: SocketSpec, wait_s: float
    ) -> list[S]:
        """Open one socket by the broker. It gets the descriptors of the stock if there are no others."""
        try:
            return await broker.open(take_fd, (spec,), wait_s)
        except OSError as error:
            if error.errno != errno.EMFILE or not close_lots(self):
                raise
        return await broker.open(take_fd, (spec,), wait_s)

    def close(self) -> None:
        """Close all sockets in stock, of all threads. You can still use the stock afterwards."""
        self._times_closed += 1
        close_lots(self)

    def _new_shelf(self, spec: SocketSpec) -> _Shelf | None:
        """Return a shelf for a spec, or `None` if such sockets are always made fresh."""
        namespace, family, socket_type, proto, bind, listen, options, also = spec
        if bind is not None or listen is not None or also or family not in _FAMILIES:
            return None
        if (socket_type & ~_NONBLOCK, proto) not in _KINDS:
            return None
        reason = why_no_stock(namespace)
        if reason is None and not _FREEBIND.issuperset(options):
            reason = "its sockets have options that depend on a grant"
        if reason is not None:
            self._say_once(f"no stock of sockets for {namespace!r}: {reason}")
            return None
        shelves = self._at.shelves
        if len(shelves) >= _MOST_SHELVES:
            shelves.clear()  # Their lots are closed in time.
        return shelves.setdefault(spec, _Shelf(f"{self._directory}/{namespace}"))

    def _groups(self, shelf: _Shelf) -> Groups | None:
        """Return the groups of the mount. If lstat(2) of a name there can't prove where it leads, say why."""
        if self._is_old_broker:
            return None
        try:
            os.lstat(shelf.path)
            groups = self._at.mount.groups()
        except FileNotFoundError:
            return None  # The broker says so, or waits for it.
        except (OSError, ValueError) as error:
            self._say_once(f"no stock of sockets: can't look at {shelf.path}: {error}")
            return None
        if not any(groups):
            self._say_once(f"no stock of sockets: {self._directory} is a private mount here, {_REMEDY}")
            return None
        return None if groups == self._foreign else groups

    async def _fill(
        self, broker: Source, shelf: _Shelf, spec: SocketSpec, count: int, now: float, groups: Groups
    ) -> socket.SocketType | None:
        """Put a lot on a shelf, and return one socket of it. `None` means that there is no lot."""
        owner, times_closed = _owner(), self._times_closed
        try:
            sockets, reply = await broker.open_lot(spec, count)
        except BrokerUnavailableError as error:
            if error.errno != errno.EAGAIN:
                raise
            shelf.used.clear()
            return None
        except BrokerProtocolError as error:
            if not broker.is_unknown_key(error):
                raise
            self._is_old_broker = True
            self._say_once("no stock of sockets: this broker is too old for one")
            return None
        except OSError:
            # For example, this process has no room for a lot, or the name is gone. The fresh request has its own error.
            shelf.used.clear()
            self.close()
            return None
        cookies = [opened.cookie.to_bytes(COOKIE_BYTES, byteorder) for opened in reply.sockets]
        (first, _), *others = zip(sockets, cookies, strict=True)
        lot = Lot(others, reply.namespaces[reply.sockets[0].namespace], owner, now + USED_FOR_S, self)
        if not reply.peer_group or reply.peer_group not in groups:
            self._foreign = groups
            self._say_once(f"no stock of sockets: {self._directory} is not the broker's mount here, {_REMEDY}")
        elif owner == _owner() and times_closed == self._times_closed:
            if keep(lot):
                shelf.lot = lot
                return first
            self._say_once("no stock of sockets: no thread can be started to close them in time")
        lot.close()
        return first

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)


_REMEDY = "so names can mean other namespaces than for the broker (mount it with the propagation slave, as rslave)"


def why_no_stock(namespace: object) -> str | None:
    """Return why a namespace has no stock, whatever its mounts are. `None` means that it can have one."""
    if not isinstance(namespace, str) or "/" in namespace:
        return "only a name in /run/netns can be proven, and not a descriptor or a path"
    if namespace.startswith("@"):
        return "only a name in /run/netns can be proven"
    if ":" in namespace:
        return "the broker asks the engine of a container for each request"
    if namespace in ("", ".", "..") or "\0" in namespace:
        return "it is no name"
    return None


def _take(shelf: _Shelf, now: float) -> socket.SocketType | None:
    """Take a socket whose namespace has the name at this moment. If there is none, drop the lot."""
    lot = shelf.lot
    if lot is None:
        return None
    if now < lot.use_until and lot.owner == _owner() and (sock := lot.take()) is not None:
        try:
            status = os.lstat(shelf.path)
            if status.st_ino == lot.entered.inode and status.st_dev == lot.entered.device:
                return sock
        except OSError:
            pass  # There is no such name any more.
        except BaseException:
            sock.close()
            raise
        sock.close()
        shelf.used.clear()
    lot.close()
    if shelf.lot is lot:  # otherwise another thread has put the next one there
        shelf.lot = None
    return None


def _owner() -> Owner:
    return getpid(), geteuid(), getegid()


def _warn(line: str) -> None:
    import warnings

    warnings.warn(line, RuntimeWarning, stacklevel=3)
