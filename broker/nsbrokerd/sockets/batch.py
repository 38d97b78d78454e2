"""The sockets of one request while they are made: made, set up and described in pieces, or closed.

Between two pieces the thread is at home and has its own ids. If the calls of bind(2) and listen(2) of a person are
slow, they are made in the person's own thread.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import starmap
from operator import attrgetter
from time import thread_time
from typing import NamedTuple

from nsbroker.wire import Address, EnteredNamespace, make_record

from ..clients.client import Person
from ..clients.closer import SLOW_TO_CLOSE, Closer
from ..namespaces.netns import Gate, NamespaceNotFoundError
from ..policy.kinds import Triple
from ..policy.plans import PlannedSocket
from ..seal import Seal, UnsealedError
from .credentials import Credentials
from .kernel_support import why_unsupported, with_advice
from .set_up import (
    bind_as_root_and_listen,
    bound_address,
    do_unprivileged,
    has_privileged_options,
    set_privileged_options,
)
from .slow_binds import LONG_S, Errand, SlowBinds, Usage, usage
from .time_slice import Steps, TimeSlice

_AF_NETLINK = int(socket.AF_NETLINK)
SPECIAL = frozenset({*SLOW_TO_CLOSE, _AF_NETLINK})
"""The families that need special care."""
_SOL_SOCKET = int(socket.SOL_SOCKET)
_SO_COOKIE = 57  # include/uapi/asm-generic/socket.h
_COOKIE_BYTES = 8

_DESCRIBED_AT_ONCE = 32


class Opened(NamedTuple):
    """A socket that was made. The receiver owns `sock`.

    `cookie` is its SO_COOKIE. `address` is None unless the broker bound it.
    """

    planned: PlannedSocket
    sock: socket.SocketType
    cookie: int
    namespace: EnteredNamespace
    address: Address | None


class OpenError(Exception):
    """The kernel refused one socket of a request, so all of them were closed."""

    def __init__(self, position: int, error: OSError) -> None:
        super().__init__(str(error))
        self.position = position
        self.error = error


class OpenGroup(NamedTuple):
    """The sockets to make in one namespace, whose descriptor is only lent."""

    namespace_fd: int
    sockets: Sequence[PlannedSocket]


def make_socket(planned: PlannedSocket, unsupported: Mapping[Triple, int]) -> socket.SocketType:
    """Make a socket in the thread's present namespace.

    Raises:
        OpenError: the kernel refuses it.
    """
    _, family, socket_type, proto, _, _, _, _ = planned.spec
    if unsupported and (number := unsupported.get(planned.triple)):
        raise OpenError(planned.position, OSError(number, why_unsupported(planned.kind, number)))
    try:
        return socket.SocketType(family, socket_type, proto)
    except OSError as error:
        raise OpenError(planned.position, with_advice(planned.kind, error)) from error


def binds(planned: PlannedSocket) -> bool:
    """Return whether setting up a socket calls bind(2) or listen(2)."""
    return planned.spec.bind is not None or planned.spec.listen is not None


_Made = tuple[PlannedSocket, socket.SocketType]

_SET_UP = (set_privileged_options, do_unprivileged, bind_as_root_and_listen)
"""The rounds over all sockets of a request. No socket listens before all are bound."""
_UNPRIVILEGED = 1
"""The round that is made without any rights."""


class Batch:
    """The sockets of one request while they are made. It owns them until `describe` returns them."""

    __slots__ = (
        "_at",
        "_closer",
        "_cookies",
        "_credentials",
        "_gid",
        "_made",
        "_namespaces",
        "_person",
        "_round",
        "_slow",
        "_special",
        "_uid",
        "_unsupported",
    )

    def __init__(
        self,
        credentials: Credentials,
        unsupported: Mapping[Triple, int],
        uid: int,
        gid: int,
        person: Person,
        slow: SlowBinds,
        closer: Closer,
    ) -> None:
        self._credentials = credentials
        self._unsupported = unsupported
        self._uid = uid
        self._gid = gid
        self._person = person
        self._slow = slow
        self._closer = closer
        self._made: list[_Made] = []
        # For each socket that was made, its namespace. Sealed sockets come first, and have cookies already.
        self._namespaces: list[EnteredNamespace] = []
        self._cookies: list[int] = []
        # The sockets to set up, as soon as all are made: the present round, and the next of them in this round.
        self._special: list[_Made] | None = None
        self._round = self._at = 0

    def __len__(self) -> int:
        return len(self._made)

    def make(self, gate: Gate, groups: Sequence[OpenGroup], time_slice: TimeSlice | None = None) -> Sequence[OpenGroup]:
        """Make sockets, and prove the namespace of each group by its first socket: one visit makes the whole group.

        Returns:
            The rest, for which there was no time. At least one socket is made.
        """
        self._credentials.as_owner(self._uid, self._gid, partial(self._visit_all, gate, groups, time_slice))
        if time_slice is None:
            for namespace_fd, sockets in groups:
                namespace = gate.verify(namespace_fd, self._made[len(self._namespaces)][1])
                self._namespaces += [namespace] * len(sockets)
            return ()
        return self._verify_some(gate, groups)

    def _verify_some(self, gate: Gate, groups: Sequence[OpenGroup]) -> list[OpenGroup]:
        """Do the same after a visit that may have ended early. Return the rest."""
        rest: list[OpenGroup] = []
        for group in groups:
            namespace_fd, sockets = group
            proven = len(self._namespaces)
            if proven == len(self._made):
                rest.append(group)
                continue
            namespace = gate.verify(namespace_fd, self._made[proven][1])
            count = min(len(self._made) - proven, len(sockets))
            self._namespaces += [namespace] * count
            if count < len(sockets):
                rest.append(OpenGroup(namespace_fd, sockets[count:]))
        return rest

    def make_sealed(
        self, seal: Seal | None, groups: Sequence[OpenGroup], time_slice: TimeSlice | None = None
    ) -> Sequence[OpenGroup]:
        """Make sockets in the seal's thread. They can do nothing until the seal knows the names of their grants.

        Returns:
            The rest, as `make`.
        """
        if seal is None:
            raise UnsealedError("a grant has a limit, but no seal was installed to enforce it")
        before = len(self._made)
        rest = seal.call(lambda gate: self.make(gate, groups, time_slice))
        new = self._made[before:]
        cookies = [cookie_of(sock) for _, sock in new]
        self._cookies += cookies
        made = zip(new, self._namespaces[before:], cookies, strict=True)
        seal.put_on([(sock, planned.grant.name, ns.cookie, cookie) for (planned, sock), ns, cookie in made], self._uid)
        return rest

    def _visit_all(self, gate: Gate, groups: Sequence[OpenGroup], time_slice: TimeSlice | None) -> None:
        for namespace_fd, sockets in groups:
            try:
                gate.call_inside(namespace_fd, partial(self._make_all, sockets, time_slice))
            except NamespaceNotFoundError as error:
                error.position = sockets[0].position
                raise
            if time_slice is not None and time_slice.is_over():
                return

    def _make_all(self, sockets: Sequence[PlannedSocket], time_slice: TimeSlice | None) -> None:
        unsupported, made = self._unsupported, self._made
        for planned in sockets:
            is_special = planned.spec.family in SPECIAL
            sock = self._make_special(planned) if is_special else make_socket(planned, unsupported)
            made.append((planned, sock))
            if time_slice is not None and time_slice.is_over():
                return

    def _make_special(self, planned: PlannedSocket) -> socket.SocketType:
        if planned.spec.family == _AF_NETLINK:
            # A netlink socket lends its opener's power to each later message, whoever sends it.
            return self._credentials.without_power(self._uid, partial(make_socket, planned, self._unsupported))
        if self._closer.is_full(self._person):
            full = OSError(errno.EBUSY, "too many packet and Unix sockets of yours are being closed; try again later")
            raise OpenError(planned.position, with_advice(planned.kind, full))
        return make_socket(planned, self._unsupported)

    def set_up(self) -> None:
        """Set options, bind and listen: with the broker's rights where a grant names it, otherwise without any."""
        special = self._select_special()
        while special and self._round < len(_SET_UP):
            self.set_up_some()

    def _select_special(self) -> list[_Made]:
        if self._special is None:
            self._special = [one for one in self._made if not one[0].is_plain]
            if not any(has_privileged_options(planned) for planned, _ in self._special):
                self._round = _UNPRIVILEGED
        return self._special

    @property
    def is_set_up(self) -> bool:
        """Whether `set_up_some` has nothing left to do. All sockets must have been made."""
        return self._round == len(_SET_UP) or not self._select_special()

    @property
    def binds(self) -> bool:
        """Whether a socket is bound or listens."""
        return any(binds(planned) for planned, _ in self._select_special())

    def set_up_some(self, time_slice: TimeSlice | None = None, errand: Errand | None = None) -> None:
        """Set up sockets until the round ends, or the time is up, or a call was slow, or the errand is abandoned."""
        special = self._select_special()
        step = partial(self._set_up_each, special, _SET_UP[self._round], time_slice, errand)
        if self._round == _UNPRIVILEGED:
            # Without power over user namespaces, too: root owns those of containers, and the broker is root.
            self._credentials.without_power(self._credentials.uid, step)
        else:
            step()
        if self._at == len(special):
            self._round, self._at = self._round + 1, 0

    def _set_up_each(
        self,
        special: Sequence[_Made],
        step: Callable[[PlannedSocket, socket.SocketType], None],
        time_slice: TimeSlice | None,
        errand: Errand | None,
    ) -> None:
        clock = time.monotonic
        before = usage() if errand is not None or self._slow.is_suspect(self._person.uid) else None
        since = clock()
        for planned, sock in special[self._at :]:
            began = clock()
            try:
                step(planned, sock)
            except OSError as error:
                if (took_s := clock() - began) > LONG_S:
                    self._judge(planned, took_s, began - since, before, errand)
                raise OpenError(planned.position, error) from error
            self._at += 1
            if (took_s := clock() - began) > LONG_S:
                self._judge(planned, took_s, began - since, before, errand)
                if errand is None and time_slice is not None:
                    return
            if errand is not None:
                if before is not None:
                    before, since = Usage(thread_time(), before.sleeps), clock()
                if errand.is_abandoned:
                    return
            elif time_slice is not None and time_slice.is_over():
                return

    def _judge(
        self, planned: PlannedSocket, took_s: float, earlier_s: float, before: Usage | None, errand: Errand | None
    ) -> None:
        """Have a long call judged, if it was one of bind(2) or listen(2).

        To ask for the usage before each call of a suspect would cost as much as a call of listen. So `before` can be
        older by `earlier_s`, and the calls since then count as if they had used the processor all the time.
        """
        if not binds(planned):
            return
        used = None
        if before is not None:
            after = usage()
            used = Usage(max(0.0, after.cpu_s - before.cpu_s - earlier_s), after.sleeps - before.sleeps)
        if errand is None:
            self._slow.judge(self._person.uid, took_s, used)
        elif used is not None:
            self._slow.judge_in_thread(self._person.uid, used)

    def set_up_in_thread(self, errand: Errand) -> None:
        """Do all that is left, in the person's thread."""
        while not (self.is_set_up or errand.is_abandoned):
            self.set_up_some(None, errand)

    def describe(self) -> list[Opened]:
        """Return the sockets in the order of the request."""
        self._cookies += [cookie_of(sock) for _, sock in self._made[len(self._cookies) :]]
        return _in_order(list(starmap(_opened, zip(self._made, self._namespaces, self._cookies, strict=True))))

    def describe_in_steps(self, time_slice: TimeSlice) -> Steps[list[Opened]]:
        """Return the sockets in the order of the request, as `describe`, in steps."""
        opened: list[Opened] = []
        for first in range(0, len(self._made), _DESCRIBED_AT_ONCE):
            some = slice(first, first + _DESCRIBED_AT_ONCE)
            self._cookies += [cookie_of(sock) for _, sock in self._made[max(first, len(self._cookies)) : some.stop]]
            opened += starmap(_opened, zip(self._made[some], self._namespaces[some], self._cookies[some], strict=True))
            if time_slice.is_over():
                yield None
        return _in_order(opened)

    def close_in_steps(self, time_slice: TimeSlice) -> Steps[None]:
        """Close all sockets that were made, in steps. No thread may use them."""
        try:
            while self._made:
                _, sock = self._made.pop()
                self._closer.discard(self._person, (sock,))
                if time_slice.is_over():
                    yield None
        finally:
            self.close()

    def close(self) -> None:
        """Close all sockets that were made."""
        self._closer.discard(self._person, [sock for _, sock in self._made])

    def close_in_thread(self) -> None:
        """Close all sockets that were made, in any thread."""
        self._closer.discard_in_thread(self._person, [sock for _, sock in self._made])


def _opened(made: _Made, namespace: EnteredNamespace, cookie: int) -> Opened:
    planned, sock = made
    address = None if planned.is_plain else bound_address(planned, sock)
    return make_record(Opened, (planned, sock, cookie, namespace, address))


def _in_order(opened: list[Opened]) -> list[Opened]:
    if len(opened) > 1:
        opened.sort(key=attrgetter("planned.position"))
    return opened


def cookie_of(sock: socket.SocketType) -> int:
    """Return the SO_COOKIE of a socket."""
    return int.from_bytes(sock.getsockopt(_SOL_SOCKET, _SO_COOKIE, _COOKIE_BYTES), "little")
