"""Makes the sockets of a plan: all of them, or none."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from nsbroker.wire import Address, SocketSpec

from ..namespaces.netns import Gate, NamespaceNotFoundError
from ..policy.kinds import Triple
from ..policy.plans import PlannedSocket
from ..seal import Seal, UnsealedError
from .credentials import Credentials
from .setup import bind_as_root_and_listen, bound_name, do_unprivileged, set_privileged_options
from .support import why_unsupported, with_advice

_AF_NETLINK = int(socket.AF_NETLINK)
_SOL_SOCKET = int(socket.SOL_SOCKET)
_SO_COOKIE = 57  # include/uapi/asm-generic/socket.h
_COOKIE_BYTES = 8


class Opened(NamedTuple):
    """A socket that was made. The receiver owns `sock`; `name` is where the broker bound it."""

    planned: PlannedSocket
    sock: socket.SocketType
    cookie: int
    netns: int
    name: Address | None


class OpenError(Exception):
    """The kernel refused one socket of a request; none was kept. `__cause__` is the OSError."""

    def __init__(self, position: int, error: OSError) -> None:
        super().__init__(str(error))
        self.position = position
        self.errno = error.errno or 0
        self.message = error.strerror or str(error)


_Made = list[tuple[PlannedSocket, socket.SocketType]]
_Groups = Sequence[tuple[int, Sequence[PlannedSocket]]]


def _limited(groups: _Groups) -> _Groups:
    return [(fd, kept) for fd, group in groups if (kept := [one for one in group if one.grant.limit is not None])]


def _unlimited(groups: _Groups) -> _Groups:
    return [(fd, kept) for fd, group in groups if (kept := [one for one in group if one.grant.limit is None])]


class Opener:
    """Makes sockets in other namespaces, as their peers. For the broker's main thread alone.

    Limited ones are made in the seal's thread, while the main thread waits.
    """

    def __init__(self, gate: Gate, credentials: Credentials, unsupported: Mapping[Triple, int]) -> None:
        """`unsupported` are the errnos of what this kernel does not have: it is not asked again.

        `seal` is what enforces limits; None as long as no grant has any.
        """
        self._gate = gate
        self._credentials = credentials
        self.unsupported = unsupported
        self.seal: Seal | None = None

    def open_sockets(self, groups: _Groups, uid: int, gid: int) -> list[Opened]:
        """Make all sockets, in the order of the request.

        Args:
            groups: for each namespace its descriptor and its sockets.
            uid: who shall own the sockets, as the kernel sees it in namespaces and firewalls.
            gid: likewise.

        Raises:
            OpenError: the kernel refused one; none was kept.
            NamespaceNotFoundError: a descriptor is no network namespace; no socket was kept.
        """
        made: _Made = []
        namespaces: dict[int, int] = {}
        cookies: list[int] = []
        try:
            if limited := _limited(groups):
                cookies = self._make_sealed(limited, uid, gid, made, namespaces)
                groups = _unlimited(groups)
            if groups:
                self._make_as_owner(self._gate, groups, uid, gid, made, namespaces)
            self._prepare(made)
            # Those of the sealed ones, which come first, were needed before.
            cookies += [_cookie(sock) for _, sock in made[len(cookies) :]]
            opened = [
                _describe(*one, cookie, namespaces[one[0].position]) for one, cookie in zip(made, cookies, strict=True)
            ]
        except BaseException:
            for _, sock in made:
                sock.close()
            raise
        opened.sort(key=_by_index)
        return opened

    def _make_sealed(self, groups: _Groups, uid: int, gid: int, made: _Made, namespaces: dict[int, int]) -> list[int]:
        """Make these in the thread whose sockets can do nothing until they have the name of their grant.

        Gives their cookies.

        Raises:
            UnsealedError: nothing enforces limits: our own invariant is broken.
        """
        seal = self.seal
        if seal is None:
            raise UnsealedError("a grant has limits, and nothing was installed that enforces them")
        seal.call(lambda gate: self._make_as_owner(gate, groups, uid, gid, made, namespaces))
        cookies = [_cookie(sock) for _, sock in made]
        named = zip(made, cookies, strict=True)
        seal.put_on([(sock, one.grant.name, namespaces[one.position], cookie) for (one, sock), cookie in named], uid)
        return cookies

    def _make_as_owner(
        self, gate: Gate, groups: _Groups, uid: int, gid: int, made: _Made, namespaces: dict[int, int]
    ) -> None:
        """Make these, and prove each group's namespace by its first socket: all of it was made in one visit."""
        first = len(made)
        self._credentials.as_owner(uid, gid, partial(self._make_all, gate, groups, uid, made))
        for namespace_fd, group in groups:
            netns = gate.verify(namespace_fd, made[first][1])
            for planned in group:
                namespaces[planned.position] = netns
            first += len(group)

    def _make_all(self, gate: Gate, groups: _Groups, uid: int, made: _Made) -> None:
        for namespace_fd, planned in groups:
            try:
                gate.call_inside(namespace_fd, partial(self._make, planned, uid, made))
            except NamespaceNotFoundError as error:
                error.position = planned[0].position
                raise

    def _make(self, group: Sequence[PlannedSocket], uid: int, made: _Made) -> None:
        for planned in group:
            if self.unsupported and (number := self.unsupported.get(_triple(planned.spec))):
                raise OpenError(planned.position, OSError(number, why_unsupported(planned.kind, number)))
            _, family, kind, proto, *_ = planned.spec
            try:
                if family == _AF_NETLINK:
                    # A netlink socket lends its opener's power to each later message, whoever sends it.
                    sock = self._credentials.without_power(uid, partial(socket.SocketType, family, kind, proto))
                else:
                    sock = socket.SocketType(family, kind, proto)
            except OSError as error:
                raise OpenError(planned.position, with_advice(planned.kind, error)) from error
            made.append((planned, sock))

    def _prepare(self, made: _Made) -> None:
        """Set options, bind and listen: with the broker's rights for what a grant names, without any for the rest."""
        wanting = [(planned, sock) for planned, sock in made if planned.spec[4:] != NOTHING_WANTED]
        if not wanting:
            return
        _each(wanting, set_privileged_options)
        # Nor those of who made the namespace's user namespace: that of a container is root's, and so are we.
        self._credentials.without_power(self._credentials.uid, partial(_each, wanting, do_unprivileged))
        _each(wanting, bind_as_root_and_listen)


NOTHING_WANTED = (None, None, (), ())
_SOCK_NONBLOCK = int(socket.SOCK_NONBLOCK)


def _triple(spec: SocketSpec) -> Triple:
    return spec.family, spec.type & ~_SOCK_NONBLOCK, spec.proto


def _by_index(opened: Opened) -> int:
    return opened.planned.position


def _each(made: Iterable[tuple[PlannedSocket, socket.SocketType]], step: Callable[..., None]) -> None:
    for planned, sock in made:
        try:
            step(planned, sock)
        except OSError as error:
            raise OpenError(planned.position, error) from error


def _describe(planned: PlannedSocket, sock: socket.SocketType, cookie: int, netns: int) -> Opened:
    return Opened(planned, sock, cookie, netns, None if planned.spec.bind is None else bound_name(planned, sock))


def _cookie(sock: socket.SocketType) -> int:
    return int.from_bytes(sock.getsockopt(_SOL_SOCKET, _SO_COOKIE, _COOKIE_BYTES), "little")
