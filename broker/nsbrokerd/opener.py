"""Makes the sockets of a plan: all of them, or none."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from nsbroker.wire import Address, SocketSpec

from .credentials import Credentials
from .kinds import Triple
from .linklayer import bind_everywhere
from .netns import Gate, NamespaceNotFoundError
from .policy.options import ORDINARY_OPTIONS
from .session import PlannedSocket

_AF_UNIX = int(socket.AF_UNIX)
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


class Opener:
    """Makes sockets in other namespaces, as their peers. For the broker's main thread alone."""

    def __init__(self, gate: Gate, credentials: Credentials, unsupported: Mapping[Triple, int]) -> None:
        """`unsupported` are the errnos of what this kernel does not have: it is not asked again."""
        self._gate = gate
        self._credentials = credentials
        self.unsupported = unsupported

    def open_sockets(self, groups: Sequence[tuple[int, Sequence[PlannedSocket]]], uid: int, gid: int) -> list[Opened]:
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
        try:
            self._credentials.as_owner(uid, gid, partial(self._make_all, groups, uid, made))
            cookies = self._verify_all(groups, made)
            self._prepare(made)
            opened = [_describe(planned, sock, cookies[planned.position]) for planned, sock in made]
        except BaseException:
            for _, sock in made:
                sock.close()
            raise
        opened.sort(key=_by_index)
        return opened

    def _make_all(self, groups: Sequence[tuple[int, Sequence[PlannedSocket]]], uid: int, made: _Made) -> None:
        for namespace_fd, planned in groups:
            try:
                self._gate.call_inside(namespace_fd, partial(self._make, planned, uid, made))
            except NamespaceNotFoundError as error:
                error.position = planned[0].position
                raise

    def _make(self, group: Sequence[PlannedSocket], uid: int, made: _Made) -> None:
        for planned in group:
            if self.unsupported and (number := self.unsupported.get(_triple(planned.spec))):
                raise OpenError(planned.position, OSError(number, os.strerror(number)))
            _, family, kind, proto, *_ = planned.spec
            try:
                if family == _AF_NETLINK:
                    # A netlink socket lends its opener's power to each later message, whoever sends it.
                    sock = self._credentials.without_power(uid, partial(socket.SocketType, family, kind, proto))
                else:
                    sock = socket.SocketType(family, kind, proto)
            except OSError as error:
                raise OpenError(planned.position, error) from error
            made.append((planned, sock))

    def _verify_all(self, groups: Sequence[tuple[int, Sequence[PlannedSocket]]], made: _Made) -> dict[int, int]:
        """Prove each group's namespace by its first socket: all of it was made in one visit."""
        cookies: dict[int, int] = {}
        first = 0
        for namespace_fd, group in groups:
            netns = self._gate.verify(namespace_fd, made[first][1])
            for planned in group:
                cookies[planned.position] = netns
            first += len(group)
        return cookies

    def _prepare(self, made: _Made) -> None:
        """Set options, bind and listen: with the broker's rights for what a grant names, without any for the rest."""
        wanting = [(planned, sock) for planned, sock in made if planned.spec[4:] != NOTHING_WANTED]
        if not wanting:
            return
        _each(wanting, _set_privileged_options)
        self._credentials.without_capabilities(partial(_each, wanting, _do_unprivileged))
        _each(wanting, _bind_as_root_and_listen)


NOTHING_WANTED = (None, None, ())
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


def _set_privileged_options(planned: PlannedSocket, sock: socket.SocketType) -> None:
    for level, name, value in planned.spec.options:
        if (level, name) not in ORDINARY_OPTIONS:
            sock.setsockopt(level, name, _as_c_int(value))


def _do_unprivileged(planned: PlannedSocket, sock: socket.SocketType) -> None:
    for level, name, value in planned.spec.options:
        if (level, name) in ORDINARY_OPTIONS:
            sock.setsockopt(level, name, _as_c_int(value))
    if planned.spec.bind is not None and not planned.binds_as_root:
        _bind(planned, sock)


def _as_c_int(value: int | bytes) -> int | bytes:
    """Give the bits of an option's value as an int of C: Python raises no OSError for what does not fit one."""
    return value - 2**32 if isinstance(value, int) and value >= 2**31 else value


def _bind_as_root_and_listen(planned: PlannedSocket, sock: socket.SocketType) -> None:
    if planned.binds_as_root:
        _bind(planned, sock)
    if planned.spec.listen is not None:
        sock.listen(planned.spec.listen)


def _bind(planned: PlannedSocket, sock: socket.SocketType) -> None:
    address = planned.spec.bind
    if isinstance(address, bytes):
        # An abstract name begins with NUL; no name at all means that the kernel chooses one.
        sock.bind(b"\0" + address if address else b"")
    elif address is not None and planned.kind == "packet" and not address[0]:
        bind_everywhere(sock.fileno(), address[1])
    elif address is not None:
        # Hosts were checked to be numeric, so that Python has nothing to look up.
        sock.bind(address)


def _describe(planned: PlannedSocket, sock: socket.SocketType, netns: int) -> Opened:
    cookie = int.from_bytes(sock.getsockopt(_SOL_SOCKET, _SO_COOKIE, _COOKIE_BYTES), "little")
    return Opened(planned, sock, cookie, netns, None if planned.spec.bind is None else _name(planned, sock))


def _name(planned: PlannedSocket, sock: socket.SocketType) -> Address:
    if planned.kind == "packet" and planned.spec.bind is not None:
        return planned.spec.bind  # the kernel's own name for the interface may be no text
    name = sock.getsockname()
    return bytes(name[1:]) if planned.spec.family == _AF_UNIX else tuple(name)
