"""What is done with a socket after it was made, back home: options, bind, listen."""

from __future__ import annotations

import socket

from nsbroker.wire import Address

from ..policy.options import ORDINARY_OPTIONS
from ..policy.plans import PlannedSocket
from .linklayer import bind_everywhere
from .sctp import bind_also

_AF_UNIX = int(socket.AF_UNIX)


def set_privileged_options(planned: PlannedSocket, sock: socket.SocketType) -> None:
    """Set what a grant names, with the broker's rights."""
    for level, name, value in planned.spec.options:
        if (level, name) not in ORDINARY_OPTIONS:
            sock.setsockopt(level, name, _as_c_int(value))


def do_unprivileged(planned: PlannedSocket, sock: socket.SocketType) -> None:
    """Set and bind what the client could as well. Its caller has put away all capabilities."""
    for level, name, value in planned.spec.options:
        if (level, name) in ORDINARY_OPTIONS:
            sock.setsockopt(level, name, _as_c_int(value))
    if planned.spec.bind is not None and not planned.binds_as_root:
        _bind(planned, sock)


def _as_c_int(value: int | bytes) -> int | bytes:
    """Give the bits of an option's value as an int of C: Python raises no OSError for what does not fit one."""
    return value - 2**32 if isinstance(value, int) and value >= 2**31 else value


def bind_as_root_and_listen(planned: PlannedSocket, sock: socket.SocketType) -> None:
    """Bind what a grant lists, with the broker's rights."""
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
        if planned.spec.also:
            bind_also(sock, planned.spec.family, planned.spec.also)


def bound_name(planned: PlannedSocket, sock: socket.SocketType) -> Address:
    """Tell where it was bound."""
    if planned.kind == "packet" and planned.spec.bind is not None:
        return planned.spec.bind  # the kernel's own name for the interface may be no text
    name = sock.getsockname()
    if planned.spec.also and planned.spec.bind is not None:
        # Of several addresses the kernel may give another one.
        return (planned.spec.bind[0], name[1], *planned.spec.bind[2:])
    return bytes(name[1:]) if planned.spec.family == _AF_UNIX else tuple(name)
