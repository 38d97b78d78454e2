"""Connects to the Unix socket of an engine, which must be root's."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

import trio

_UCRED = struct.Struct("=iII")
_TRY_AGAIN_S = 0.01

_ADVICE = {
    errno.ENOENT: "its socket does not exist: start its service, or correct [engines]",
    errno.ECONNREFUSED: "no process listens at its socket: start its service",
    errno.EACCES: "the broker must not open its socket: see the permissions of the path",
}


class UnreachableError(Exception):
    """No engine can be asked at this path. The message has the cause and the remedy."""


async def connect(path: Path) -> trio.SocketStream:
    """Connect to an engine. If its queue of connections is full, try again until the caller's cancel scope ends.

    Raises:
        UnreachableError: there is no server, or another user's. A user could name any namespace as a container's.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        # trio's own connect takes EAGAIN for a connection that is on its way. Source: connect(2), unix(7).
        while not _connected(sock, path):
            await trio.sleep(_TRY_AGAIN_S)
        _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid not in (0, os.geteuid()):
            raise UnreachableError(f"the server at its socket is of the user {uid}: an engine of root is needed")
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    except BaseException:
        sock.close()
        raise


def _connected(sock: socket.socket, path: Path) -> bool:
    """Try to connect. Return False if the server's queue is full."""
    try:
        sock.connect(os.fsencode(path))
    except BlockingIOError:
        return False
    except OSError as error:  # a path that is too long has no errno
        raise UnreachableError(_ADVICE.get(error.errno or 0, error.strerror or str(error))) from error
    return True
