"""Sees each address before a socket of the socket module uses it. The audit events of Python come after the look-up."""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Check: TypeAlias = Callable[[socket.socket, Any], Any]

_PLAIN = socket.socket  # `patch` replaces the name in the module.
_IN_C = socket.SocketType
_checks: list[Check] = []


def watch(check: Check) -> None:
    """Let each `connect`, `bind`, `sendto` and `sendmsg` take the address that `check(socket, address)` returns."""
    _checks.append(check)
    for name, method in _METHODS.items():
        setattr(_PLAIN, name, method)


def unwatch(check: Check) -> None:
    """End what `watch` began."""
    _checks.remove(check)
    if not _checks:
        for name in _METHODS:
            delattr(_PLAIN, name)


def _checked(sock: socket.socket, address: Any) -> Any:
    for check in _checks:
        address = check(sock, address)
    return address


def _bind(self: socket.socket, address: Any, /) -> None:
    _IN_C.bind(self, _checked(self, address))


def _connect(self: socket.socket, address: Any, /) -> None:
    _IN_C.connect(self, _checked(self, address))


def _connect_ex(self: socket.socket, address: Any, /) -> int:
    return _IN_C.connect_ex(self, _checked(self, address))


def _sendto(self: socket.socket, *args: Any) -> int:
    if len(args) in (2, 3):
        args = (*args[:-1], _checked(self, args[-1]))
    return _IN_C.sendto(self, *args)


def _sendmsg(self: socket.socket, *args: Any) -> int:
    if len(args) == 4:
        args = (*args[:-1], _checked(self, args[-1]))
    return _IN_C.sendmsg(self, *args)


_METHODS = {"bind": _bind, "connect": _connect, "connect_ex": _connect_ex, "sendmsg": _sendmsg, "sendto": _sendto}
