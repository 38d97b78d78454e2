"""Sets up a socket after it was made, back in the broker's own namespace: options, addresses, listen."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterable
from functools import lru_cache

from nsbroker.wire import Address, Option

from ..policy.options import ORDINARY_OPTIONS
from ..policy.plans import PlannedSocket

_AF_UNIX = int(socket.AF_UNIX)

_SOCKADDR_LL = struct.Struct("=HHiHBB8s")
"""struct sockaddr_ll of packet(7): family, protocol, interface index, and fields that bind(2) ignores."""
_EVERY_INTERFACE = 0

# Source: RFC 6458, section 9.1; include/uapi/linux/sctp.h.
_IPPROTO_SCTP = 132
_SCTP_SOCKOPT_BINDX_ADD = 100

# CDLL lets go of the GIL, as Python's own bind() does: a call can take long, and then it is made in a thread.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.bind.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
_libc.setsockopt.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]


def has_privileged_options(planned: PlannedSocket) -> bool:
    """Return whether `set_privileged_options` has something to do."""
    return bool(_split_options(planned.spec.options)[0])


def set_privileged_options(planned: PlannedSocket, sock: socket.SocketType) -> None:
    """Set the options that a grant must name, with the broker's rights."""
    for level, name, value in _split_options(planned.spec.options)[0]:
        sock.setsockopt(level, name, value)


def do_unprivileged(planned: PlannedSocket, sock: socket.SocketType) -> None:
    """Set options and bind as the client itself could. The caller has dropped all capabilities."""
    spec = planned.spec
    for level, name, value in _split_options(spec.options)[1]:
        sock.setsockopt(level, name, value)
    if spec.bind is not None and not planned.binds_as_root:
        _bind(planned, sock)


@lru_cache(64)
def _split_options(options: tuple[Option, ...]) -> tuple[tuple[Option, ...], tuple[Option, ...]]:
    """Return the privileged options and the ordinary ones. The sockets of a batch mostly have the same."""
    privileged: list[Option] = []
    ordinary: list[Option] = []
    for level, name, value in options:
        chosen = ordinary if (level, name) in ORDINARY_OPTIONS else privileged
        chosen.append((level, name, _as_c_int(value)))
    return tuple(privileged), tuple(ordinary)


def _as_c_int(value: int | bytes) -> int | bytes:
    """Return an option's value in the range of C's int. For other values, Python raises an error that is no OSError."""
    return value - 2**32 if isinstance(value, int) and value >= 2**31 else value


def bind_as_root_and_listen(planned: PlannedSocket, sock: socket.SocketType) -> None:
    """Bind to an address that a grant lists, with the broker's rights, then listen."""
    if planned.binds_as_root:
        _bind(planned, sock)
    if planned.spec.listen is not None:
        sock.listen(planned.spec.listen)


def _bind(planned: PlannedSocket, sock: socket.SocketType) -> None:
    address = planned.spec.bind
    if isinstance(address, bytes):
        # An abstract name begins with NUL. With an empty name, the kernel chooses one.
        sock.bind(b"\0" + address if address else b"")
    elif address is not None and planned.kind == "packet" and not address[0]:
        _bind_to_every_interface(sock, address[1])
    elif address is not None:
        # The decoder accepts only numeric hosts, so Python looks up no name here.
        sock.bind(address)
        if planned.spec.also:
            bind_also(sock, planned.spec.family, planned.spec.also)


def _bind_to_every_interface(sock: socket.SocketType, protocol: int) -> None:
    """Bind a packet socket to an ETH_P_ number, in host order, on all interfaces that exist now or later.

    The socket module can't do it, because it looks for an interface by name.
    """
    address = _SOCKADDR_LL.pack(int(socket.AF_PACKET), socket.htons(protocol), _EVERY_INTERFACE, 0, 0, 0, b"")
    if _libc.bind(sock.fileno(), address, len(address)) != 0:
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def bind_also(sock: socket.SocketType, family: int, addresses: Iterable[Address]) -> None:
    """Bind an SCTP socket, which is bound already, to all of these addresses as well, or to no other one.

    The kernel may look at every socket of the port for each of them. Python's setsockopt() would keep the GIL.

    Raises:
        OSError: as bind(2).
    """
    packed = b"".join(_pack(family, *address) for address in addresses)
    if _libc.setsockopt(sock.fileno(), _IPPROTO_SCTP, _SCTP_SOCKOPT_BINDX_ADD, packed, len(packed)) != 0:
        raise _error()


def _pack(family: int, host: str, port: int, flowinfo: int = 0, scope_id: int = 0) -> bytes:
    """Return struct sockaddr_in of ip(7) or struct sockaddr_in6 of ipv6(7). Only family and scope are in host order."""
    head, address = struct.pack("=H", family) + struct.pack("!H", port), socket.inet_pton(family, host)
    if family == socket.AF_INET:
        return head + address + bytes(8)
    return head + struct.pack("!I", flowinfo) + address + struct.pack("=I", scope_id)


def bound_address(planned: PlannedSocket, sock: socket.SocketType) -> Address | None:
    """Return the address to which the broker bound the socket, if it did."""
    asked = planned.spec.bind
    if asked is None or planned.kind == "packet":
        return asked  # the kernel's own name of a packet socket's interface may be no text
    address = sock.getsockname()
    if planned.spec.also:
        # The kernel may report any of several addresses. Only the port is new.
        return (asked[0], address[1], *asked[2:])
    return bytes(address[1:]) if planned.spec.family == _AF_UNIX else tuple(address)
