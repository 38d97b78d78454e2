"""The identity of the process on the other end of a connection, as the kernel knows it."""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from ..policy import Subject

_SOL_SOCKET = int(socket.SOL_SOCKET)
_SO_PEERCRED = 17
_SO_PEERGROUPS = 59  # include/uapi/asm-generic/socket.h
_CREDENTIALS = struct.Struct("=iII")
MAX_GROUPS = 256
"""Python's getsockopt takes a buffer of at most 1024 bytes."""


class UnknownPeerError(Exception):
    """The kernel reports no identity that this process could trust."""


class Peer(NamedTuple):
    """A client's process at the time it connected.

    The pid is only for the audit. It is 0 if the process has none in the broker's pid namespace.
    """

    subject: Subject
    gid: int
    pid: int


def read_uid(connection: socket.SocketType) -> int:
    """Read only the uid of the process that connected, which costs one short system call."""
    uid: int = _CREDENTIALS.unpack(connection.getsockopt(_SOL_SOCKET, _SO_PEERCRED, _CREDENTIALS.size))[1]
    return uid


def read_peer(connection: socket.SocketType, untrusted_uid: int | None) -> Peer:
    """Read the identity of the process that connected. Later holders of the connection have the same identity.

    Args:
        connection: a connected Unix socket.
        untrusted_uid: the uid that stands for all users without a uid in this process's user namespace.

    Raises:
        UnknownPeerError: the uid is the untrusted one, or the process is in more groups than Python can read.
    """
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(_SOL_SOCKET, _SO_PEERCRED, _CREDENTIALS.size))
    if uid == untrusted_uid:
        raise UnknownPeerError(f"uid {uid} stands for every user outside of the broker's user namespace")
    return Peer(Subject(uid, _read_groups(connection) | {gid}), gid, pid)


def _read_groups(connection: socket.SocketType) -> frozenset[int]:
    try:
        data = connection.getsockopt(_SOL_SOCKET, _SO_PEERGROUPS, 4 * MAX_GROUPS)
    except OSError as error:
        if error.errno == errno.ERANGE:
            raise UnknownPeerError(f"the peer is in more than {MAX_GROUPS} groups") from error
        raise
    return frozenset(struct.unpack(f"={len(data) // 4}I", data))


def untrusted_uid(proc: Path = Path("/proc")) -> int | None:
    """Return the overflow uid if it can hide other users, or None if every user has its own uid here."""
    uid_map = (proc / "self/uid_map").read_text().split()
    if uid_map == ["0", "0", str(2**32 - 1)]:
        return None
    return int((proc / "sys/kernel/overflowuid").read_text())
