"""The kernel's knowledge of a socket: its identity and its kind, whichever object or descriptor a program has.

Source: socket(7) and include/uapi/asm-generic/socket.h.
"""

from __future__ import annotations

import socket

from .proof import COOKIE_BYTES, SO_COOKIE

_SO_PROTOCOL = 38
_SO_DOMAIN = 39

LOCAL_FAMILIES = frozenset(
    int(getattr(socket, name)) for name in ("AF_UNIX", "AF_ALG", "AF_VSOCK") if hasattr(socket, name)
)
"""Families that belong to no network namespace."""


def socket_cookie(sock: socket.SocketType) -> bytes:
    """Return the cookie of a socket. No two sockets ever have the same cookie."""
    return sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, COOKIE_BYTES)


def kind_of(sock: socket.SocketType) -> tuple[int, int, int]:
    """Return the family, the type and the protocol of a socket."""
    family, kind, proto = (
        sock.getsockopt(socket.SOL_SOCKET, option) for option in (_SO_DOMAIN, socket.SO_TYPE, _SO_PROTOCOL)
    )
    return family, kind, proto


def is_local(sock: socket.SocketType) -> bool:
    """Return whether a socket belongs to no network namespace."""
    return sock.getsockopt(socket.SOL_SOCKET, _SO_DOMAIN) in LOCAL_FAMILIES
