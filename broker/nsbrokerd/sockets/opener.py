"""Makes the sockets of a plan. If one of them fails, it closes all."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from nsbroker.wire import Address, EnteredNamespace

from ..namespaces.netns import Gate, NamespaceNotFoundError
from ..policy.kinds import Triple
from ..policy.plans import PlannedSocket
from ..seal import Seal, UnsealedError
from .credentials import Credentials
from .kernel_support import why_unsupported, with_advice
from .set_up import bind_as_root_and_listen, bound_address, do_unprivileged, set_privileged_options

_AF_NETLINK = int(socket.AF_NETLINK)
_SOL_SOCKET = int(socket.SOL_SOCKET)
_SO_COOKIE = 57  # include/uapi/asm-generic/socket.h
_COOKIE_BYTES = 8


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


class Opener:
    """Makes sockets in other namespaces, as their clients. Only for the broker's main thread.

    The seal's thread makes the sockets of grants with a limit, while the main thread waits.
    """

    def __init__(
        self, gate: Gate, credentials: Credentials, unsupported: Mapping[Triple, int], seal: Seal | None = None
    ) -> None:
        """Take what all sockets need.

        Args:
            gate: the main thread's way into namespaces.
            credentials: the broker's own.
            unsupported: the errno for each triple that this kernel can't make. The kernel is not asked for it again.
            seal: enforces limits. It is only needed for grants with a limit.
        """
        self._gate = gate
        self._credentials = credentials
        self._unsupported = unsupported
        self._seal = seal

    def open_sockets(self, groups: Sequence[OpenGroup], uid: int, gid: int) -> list[Opened]:
        """Make all sockets, in the order of the request.

        Args:
            groups: one for each namespace.
            uid: the user that owns the sockets, as the kernel and firewalls see them.
            gid: the group of the sockets, for the same purpose.

        Raises:
            OpenError: the kernel refused a socket, so all of them were closed.
            NamespaceNotFoundError: a descriptor is no network namespace, so all sockets were closed.
            UnsealedError: a grant has a limit and there is no seal: our own invariant is broken.
        """
        batch = _Batch(self._credentials, self._unsupported, uid, gid)
        try:
            if limited := _select(groups, is_limited=True):
                batch.make_sealed(self._seal, limited)
                groups = _select(groups, is_limited=False)
            if groups:
                batch.make(self._gate, groups)
            batch.set_up()
            return batch.describe()
        except BaseException:
            batch.close()
            raise


def _select(groups: Sequence[OpenGroup], *, is_limited: bool) -> list[OpenGroup]:
    return [
        OpenGroup(group.namespace_fd, kept)
        for group in groups
        if (kept := [one for one in group.sockets if (one.grant.limit is not None) is is_limited])
    ]


_Made = tuple[PlannedSocket, socket.SocketType]


class _Batch:
    """The sockets of one request while they are made. It owns them until `describe` returns them."""

    __slots__ = ("_cookies", "_credentials", "_gid", "_made", "_namespaces", "_uid", "_unsupported")

    def __init__(self, credentials: Credentials, unsupported: Mapping[Triple, int], uid: int, gid: int) -> None:
        self._credentials = credentials
        self._unsupported = unsupported
        self._uid = uid
        self._gid = gid
        self._made: list[_Made] = []
        # For each socket that was made, its namespace. Sealed sockets come first, and have cookies already.
        self._namespaces: list[EnteredNamespace] = []
        self._cookies: list[int] = []

    def make(self, gate: Gate, groups: Sequence[OpenGroup]) -> None:
        """Make sockets, and prove the namespace of each group by its first socket: one visit makes the whole group."""
        self._credentials.as_owner(self._uid, self._gid, partial(self._visit_all, gate, groups))
        for namespace_fd, sockets in groups:
            namespace = gate.verify(namespace_fd, self._made[len(self._namespaces)][1])
            self._namespaces += [namespace] * len(sockets)

    def make_sealed(self, seal: Seal | None, groups: Sequence[OpenGroup]) -> None:
        """Make sockets in the seal's thread. They can do nothing until the seal knows the names of their grants."""
        if seal is None:
            raise UnsealedError("a grant has a limit, but no seal was installed to enforce it")
        seal.call(lambda gate: self.make(gate, groups))
        self._cookies = [_cookie(sock) for _, sock in self._made]
        made = zip(self._made, self._namespaces, self._cookies, strict=True)
        seal.put_on([(sock, planned.grant.name, ns.cookie, cookie) for (planned, sock), ns, cookie in made], self._uid)

    def _visit_all(self, gate: Gate, groups: Sequence[OpenGroup]) -> None:
        for namespace_fd, sockets in groups:
            try:
                gate.call_inside(namespace_fd, partial(self._make_all, sockets))
            except NamespaceNotFoundError as error:
                error.position = sockets[0].position
                raise

    def _make_all(self, sockets: Sequence[PlannedSocket]) -> None:
        for planned in sockets:
            spec = planned.spec
            if self._unsupported and (number := self._unsupported.get(planned.triple)):
                raise OpenError(planned.position, OSError(number, why_unsupported(planned.kind, number)))
            try:
                if spec.family == _AF_NETLINK:
                    # A netlink socket lends its opener's power to each later message, whoever sends it.
                    make = partial(socket.SocketType, spec.family, spec.type, spec.proto)
                    sock = self._credentials.without_power(self._uid, make)
                else:
                    sock = socket.SocketType(spec.family, spec.type, spec.proto)
            except OSError as error:
                raise OpenError(planned.position, with_advice(planned.kind, error)) from error
            self._made.append((planned, sock))

    def set_up(self) -> None:
        """Set options, bind and listen: with the broker's rights where a grant names it, otherwise without any."""
        made = [one for one in self._made if not one[0].is_plain]
        if made:
            _each(made, set_privileged_options)
            # Without power over user namespaces, too: root owns those of containers, and the broker is root.
            self._credentials.without_power(self._credentials.uid, partial(_each, made, do_unprivileged))
            _each(made, bind_as_root_and_listen)

    def describe(self) -> list[Opened]:
        """Return the sockets in the order of the request."""
        self._cookies += [_cookie(sock) for _, sock in self._made[len(self._cookies) :]]
        opened = [
            Opened(planned, sock, cookie, namespace, None if planned.is_plain else bound_address(planned, sock))
            for (planned, sock), namespace, cookie in zip(self._made, self._namespaces, self._cookies, strict=True)
        ]
        if len(opened) > 1:
            opened.sort(key=attrgetter("planned.position"))
        return opened

    def close(self) -> None:
        """Close all sockets that were made."""
        for _, sock in self._made:
            sock.close()


def _each(made: Sequence[_Made], step: Callable[[PlannedSocket, socket.SocketType], None]) -> None:
    for planned, sock in made:
        try:
            step(planned, sock)
        except OSError as error:
            raise OpenError(planned.position, error) from error


def _cookie(sock: socket.SocketType) -> int:
    return int.from_bytes(sock.getsockopt(_SOL_SOCKET, _SO_COOKIE, _COOKIE_BYTES), "little")
