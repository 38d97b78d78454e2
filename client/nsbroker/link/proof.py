"""Proves that the descriptors of a reply are the described ones: sockets by their cookies, memfds by their seals.

Source: socket(7) and include/uapi/asm-generic/socket.h for SO_COOKIE and SO_NETNS_COOKIE, fcntl(2) for seals.
"""

from __future__ import annotations

import errno
import os
import socket
from sys import byteorder

from ..wire.messages import NamespaceRef, OpenReply, SocketSpec
from .errors import CONFINED, BrokerProtocolError, WrongNamespaceError

_SOL_SOCKET = int(socket.SOL_SOCKET)
SO_COOKIE = 57
_SO_NETNS_COOKIE = 71
COOKIE_BYTES = 8
_WRONG = "closed a socket of the broker, because it differs from the reply:"
_SEALS = 0xF
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE. No process can change the file any more."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    S = TypeVar("S", bound=socket.SocketType)


def prove_socket(sock: socket.SocketType, cookie: int, netns: int) -> None:
    """Check that a socket, and its namespace, have these cookies.

    Raises:
        WrongNamespaceError: the socket or its namespace is another one.
        PermissionError: a security module does not let this process use the socket.
    """
    get = sock.getsockopt
    try:
        own = get(_SOL_SOCKET, SO_COOKIE, COOKIE_BYTES)
    except PermissionError as error:  # AppArmor asks here, and not when the descriptor arrives.
        raise OSError(errno.EACCES, f"{os.strerror(errno.EACCES)}: {CONFINED}") from error
    if own != cookie.to_bytes(COOKIE_BYTES, byteorder):
        raise WrongNamespaceError(errno.EXDEV, f"{_WRONG} it is another socket (SO_COOKIE)")
    if get(_SOL_SOCKET, _SO_NETNS_COOKIE, COOKIE_BYTES) != netns.to_bytes(COOKIE_BYTES, byteorder):
        raise WrongNamespaceError(errno.EXDEV, f"{_WRONG} it is in another namespace (SO_NETNS_COOKIE)")


def netns_cookie(sock: socket.socket) -> bytes:
    """Return the cookie of a socket's namespace. No two namespaces ever have the same cookie."""
    return sock.getsockopt(_SOL_SOCKET, _SO_NETNS_COOKIE, COOKIE_BYTES)


def take_sockets(
    specs: tuple[SocketSpec, ...],
    reply: OpenReply,
    fds: list[int],
    take_fd: Callable[[SocketSpec, int], S],
    *,
    is_grouped: bool,
) -> list[S]:
    """Make sockets of the descriptors of one reply, each with its proof. If one proof fails, all sockets are closed.

    Raises:
        BrokerProtocolError: the number of sockets is not the number of specs, or the reply has the form for groups, and
            the request has not, or the other way round.
        WrongNamespaceError: a socket is not the described one, or sockets for one name are in two namespaces.
    """
    sockets: list[S] = []
    _, namespaces, opened, _, reply_is_grouped = reply
    netns_of: dict[NamespaceRef, int] = {}
    try:
        if len(specs) != len(opened):
            raise BrokerProtocolError(errno.EPROTO, f"the reply has {len(opened)} sockets, not {len(specs)}")
        if reply_is_grouped is not is_grouped:
            told = "cookies alone, and the request had no groups" if reply_is_grouped else "no cookies of groups"
            raise BrokerProtocolError(errno.EPROTO, f"the reply is not the one to this request: it has {told}")
        for spec, (cookie, _, index), fd in zip(specs, opened, fds, strict=True):
            sockets.append(take_fd(spec, fd))
            netns = namespaces[index].cookie
            prove_socket(sockets[-1], cookie, netns)
            if netns_of.setdefault(spec.namespace, netns) != netns:
                raise WrongNamespaceError(errno.EXDEV, f"the reply has two namespaces for the name {spec.namespace!r}")
    except BaseException:
        for sock in sockets:
            sock.close()
        for fd in fds[len(sockets) :]:
            try:  # noqa: SIM105  # contextlib is a slow import
                os.close(fd)
            except OSError:
                pass  # An interrupt right after `take_fd` has dropped its socket, and so closed the descriptor.
        raise
    return sockets


def read_blob(fd: int, size: int) -> bytes:
    """Read the sealed memfd of an answer. The caller still owns the descriptor.

    Raises:
        BrokerProtocolError: it is not a memfd, not sealed, or not `size` bytes long.
    """
    import fcntl

    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise BrokerProtocolError(errno.EPROTO, "the broker's answer is not in a memfd") from error
    if seals & _SEALS != _SEALS or os.fstat(fd).st_size != size:
        raise BrokerProtocolError(errno.EPROTO, "the memfd of the broker's answer is not sealed, or has another size")
    parts: list[bytes] = []
    offset = 0
    while offset < size:
        # pread, since every holder of the file shares its offset.
        parts.append(os.pread(fd, size - offset, offset))
        offset += len(parts[-1])
    return b"".join(parts)
