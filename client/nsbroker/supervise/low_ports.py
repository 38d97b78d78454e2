"""Whether a program's bind(2) fails because its port is a low one, which the program itself would not say.

Programs report only "Permission denied". The answer changes nothing: the kernel decides about the bind(2) itself.
"""

from __future__ import annotations

import errno
import socket
import sys
from struct import Struct

from ..wire.messages import NamespaceRef, SocketSpec
from . import caller
from .calls import as_int
from .kernel import Notification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..wire.messages import Address

_FIRST_HIGH_PORT = 1024
_SO_NETNS_COOKIE = 71
_COOKIE_BYTES = 8
_TRIPLE = (int(socket.SO_DOMAIN), int(socket.SO_TYPE), int(socket.SO_PROTOCOL))

# Source: struct sockaddr_in and struct sockaddr_in6, in ip(7) and ipv6(7).
_FAMILY = Struct("=H")
_INET = Struct("!2xH4s")
_INET6 = Struct("!2xHI16s")
_SCOPE = Struct("=24xI")


def read_low_address(data: bytes) -> tuple[int, Address] | None:
    """Return family and address of a `struct sockaddr` with a low port (`None`: it has none). Pure."""
    if len(data) >= _INET.size and _FAMILY.unpack_from(data) == (socket.AF_INET,):
        port, host = _INET.unpack_from(data)
        address: Address = (socket.inet_ntop(socket.AF_INET, host), port)
    elif len(data) >= _SCOPE.size and _FAMILY.unpack_from(data) == (socket.AF_INET6,):
        port, flow, host = _INET6.unpack_from(data)
        address = (socket.inet_ntop(socket.AF_INET6, host), port, flow & 0xFFFFF, *_SCOPE.unpack_from(data))
    else:
        return None
    return (_FAMILY.unpack_from(data)[0], address) if 0 < port < _FIRST_HIGH_PORT else None


def low_port_line(port: int) -> str:
    """Return the line for a program that may not bind a low port."""
    return (
        f"the program may not bind port {port}, since the namespace leaves low ports to root: let the broker bind it, "
        f"by nsbroker-get NS listen -l {port} -- CMD, or ask for a grant that has it in limit.bind"
    )


def refused_low_port(
    call: Notification,
    namespace: NamespaceRef,
    open_socket: Callable[[SocketSpec], socket.SocketType],
    is_new: Callable[[str], bool],
) -> int | None:
    """Return the low port for which a bind(2) will fail with EACCES (`None`: it won't, or this can't be found out).

    The kernel looks at the port before it looks whether the socket is bound already. So a second bind(2) of a bound
    socket tells the two apart, and takes no port. Source: __inet_bind in net/ipv4/af_inet.c.

    Args:
        call: the call of bind(2).
        namespace: the namespace of the sockets.
        open_socket: asks the broker for a socket.
        is_new: returns whether the user has not read a line yet.

    Raises:
        OSError: the program can't be traced, or the broker makes no such socket.
    """
    size = min(max(as_int(call.args[2]), 0), _SCOPE.size)
    found = read_low_address(caller.read_memory(call.tid, call.args[1], size))
    if found is None or not is_new(low_port_line(int(found[1][1]))):
        return None
    family, address = found
    sock = caller.copy_socket(call.tid, as_int(call.args[0]))
    try:
        own, socket_type, proto = (sock.getsockopt(socket.SOL_SOCKET, name) for name in _TRIPLE)
        network = _network(sock)
    finally:
        sock.close()
    if own != family:
        return None
    probe = open_socket(SocketSpec(namespace, family, socket_type, proto))
    try:
        if _network(probe) != network:
            return None  # another process gave it this socket
        probe.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        return int(address[1]) if _is_denied(probe, address) else None
    finally:
        probe.close()


def _is_denied(probe: socket.SocketType, address: Address) -> bool:
    try:
        probe.bind(address)
    except OSError as error:
        return error.errno == errno.EACCES
    return False


def _network(sock: socket.SocketType) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE_BYTES), sys.byteorder)
