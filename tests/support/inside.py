"""A view of a namespace from inside: a forked child enters it, and returns results."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from typing import Any

from support.users import as_user

SO_COOKIE = 57
SO_NETNS_COOKIE = 71
_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace: str | int) -> None:
    """Move this thread into a namespace, given by its path or descriptor, for good."""
    if isinstance(namespace, str):
        fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return enter(fd)
        finally:
            os.close(fd)
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return None


def path_of(name: str) -> str:
    return f"/run/netns/{name}"


def call_inside(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` in a child, root, that is in the namespace of this name."""
    return as_user(0, 0, _enter_and_call, name, function, args)


def _enter_and_call(name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    enter(path_of(name))
    return function(*args)


def netns_cookie(sock: socket.SocketType) -> int:
    """The namespace that a socket is in, as the kernel says: a number that is never used again."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")


def socket_cookie(sock: socket.SocketType) -> int:
    """The number of a socket, as the kernel says, which is never used again."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")


def cookie_here() -> int:
    """The cookie of the namespace that this process is in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return netns_cookie(sock)


def cookie_inside(name: str) -> int:
    """The cookie of the namespace that has this name now."""
    return int(call_inside(name, cookie_here))


def owner(sock: socket.SocketType) -> int:
    """The uid that a socket belongs to: the fsuid of its maker."""
    return os.fstat(sock.fileno()).st_uid
