"""What came from the broker is what it says: sockets by their cookies, a blob by its seals.

Source: SO_COOKIE and SO_NETNS_COOKIE, socket(7) and include/uapi/asm-generic/socket.h; seals, fcntl(2).
"""

from __future__ import annotations

import errno
import os
import socket
from sys import byteorder

from ..wire.messages import NamespaceRef, OpenedSocket, SocketSpec
from .errors import BrokerProtocolError, WrongNamespaceError

_SOL_SOCKET = int(socket.SOL_SOCKET)
_SO_COOKIE = 57
_SO_NETNS_COOKIE = 71
_COOKIE_BYTES = 8
_SEALS = 0xF
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE: nobody can change the file any more."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    S = TypeVar("S", bound=socket.SocketType)


def prove_socket(sock: socket.SocketType, opened: OpenedSocket) -> None:
    """Check that a socket is the one, and in the namespace, that the reply says.

    Raises:
        WrongNamespaceError: it is not.
    """
    get = sock.getsockopt
    if get(_SOL_SOCKET, _SO_COOKIE, _COOKIE_BYTES) != opened.cookie.to_bytes(_COOKIE_BYTES, byteorder):
        raise WrongNamespaceError(errno.EXDEV, "a socket came that is not the one the broker named (SO_COOKIE)")
    if get(_SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE_BYTES) != opened.netns.to_bytes(_COOKIE_BYTES, byteorder):
        raise WrongNamespaceError(errno.EXDEV, "a socket came from another namespace (SO_NETNS_COOKIE)")


def netns_cookie(sock: socket.socket) -> bytes:
    """Give what is the same for all sockets of one namespace, and for those of no other, ever."""
    return sock.getsockopt(_SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE_BYTES)


def take_sockets(
    specs: tuple[SocketSpec, ...],
    opened: tuple[OpenedSocket, ...],
    fds: list[int],
    take_fd: Callable[[SocketSpec, int], S],
) -> list[S]:
    """Make sockets of the descriptors of one reply, each with its proof. If one fails, all are closed.

    Raises:
        BrokerProtocolError: not as many sockets, or descriptors, as were asked for.
        WrongNamespaceError: a socket is not the one of the reply, or one namespace's sockets are in two.
    """
    sockets: list[S] = []
    netns: dict[NamespaceRef, int] = {}
    try:
        if not len(specs) == len(opened) == len(fds):
            text = f"{len(specs)} sockets asked for, {len(opened)} in the reply, {len(fds)} descriptors came"
            raise BrokerProtocolError(errno.EPROTO, text)
        for spec, description, fd in zip(specs, opened, fds, strict=True):
            sockets.append(take_fd(spec, fd))
            prove_socket(sockets[-1], description)
            if netns.setdefault(spec.namespace, description.netns) != description.netns:
                raise WrongNamespaceError(errno.EXDEV, f"one reply has sockets of two namespaces as {spec.namespace!r}")
    except BaseException:
        for sock in sockets:
            sock.close()
        for fd in fds[len(sockets) :]:
            os.close(fd)
        raise
    return sockets


def read_blob(fd: int, size: int) -> bytes:
    """Read the sealed memfd of an answer; the caller keeps the descriptor.

    Raises:
        BrokerProtocolError: it is no memfd, not sealed, or not `size` bytes long.
    """
    import fcntl

    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise BrokerProtocolError(errno.EPROTO, "the answer is no memfd") from error
    if seals & _SEALS != _SEALS or os.fstat(fd).st_size != size:
        raise BrokerProtocolError(errno.EPROTO, "the answer's memfd is not sealed, or not of the size that was said")
    parts: list[bytes] = []
    offset = 0
    while offset < size:
        # pread, since the offset is shared with whoever else holds the file.
        parts.append(os.pread(fd, size - offset, offset))
        offset += len(parts[-1])
    return b"".join(parts)
