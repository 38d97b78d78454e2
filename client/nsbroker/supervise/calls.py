"""The calls that reach the supervisor: the sockets that they need, and the errno and line with which they fail. Pure.

Source: net/socket.c, net/ipv4/af_inet.c, net/netlink/af_netlink.c and net/packet/af_packet.c for the errnos.
"""

from __future__ import annotations

import errno
import socket

from ..link.errors import AccessDeniedError, BrokerUnavailableError, Error
from ..wire.kind_names import NETLINK_PROTOCOLS
from ..wire.messages import Address, NamespaceRef, Option, SocketSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TYPE_MASK = 0xF
_CLOEXEC = int(socket.SOCK_CLOEXEC)
_NONBLOCK = int(socket.SOCK_NONBLOCK)
_MAX_TYPE = 10
_IPPROTO_MAX = 262
_INET = frozenset({int(socket.AF_INET), int(socket.AF_INET6)})
_NETLINK = int(socket.AF_NETLINK)
_PACKET = int(socket.AF_PACKET)
_EVERY_INTERFACE = ""

SOCKETS_FOR_INTERFACES = (
    (int(socket.AF_INET), int(socket.SOCK_DGRAM), 0),
    (int(socket.AF_INET), int(socket.SOCK_STREAM), 0),
    (int(socket.AF_INET), int(socket.SOCK_DGRAM), int(socket.IPPROTO_ICMP)),
    (int(socket.AF_INET), int(socket.SOCK_RAW), int(socket.IPPROTO_ICMP)),
    (_NETLINK, int(socket.SOCK_RAW), 0),
    (_PACKET, int(socket.SOCK_DGRAM), 0),
)
"""Sockets that answer questions about the interfaces of their namespace, as family, type and protocol. One must be
granted."""
LOCAL_PROTOCOLS = ("UNIX", "UNIX-STREAM", "AF_VSOCK", "ALG")
"""The kernel's names for the protocols of the local families, whose sockets are in the caller's own namespace."""
OPTIONS_WITH_FLAGS = {
    (1, 36): ("SO_MARK", "--mark"),
    (0, 19): ("IP_TRANSPARENT", "--transparent"),
    (41, 75): ("IPV6_TRANSPARENT", "--transparent"),
}
"""The options that need privileges, by level and name of setsockopt(2): the name, and the flag of `run` for it."""

NO_TUN = "a tun or tap device would be in your own namespace: pass the program an open one"
IN_USE = "the program asks about interfaces by a Unix socket in use, which knows your own ones: let it use a new socket"
UNSEEN = "can't see which socket the program asks about interfaces, since it can't be traced: let it ask by netlink"
NOT_GRANTED = "the program can't ask about interfaces, since no grant allows the socket for this"
"""The lines for a refused ioctl(2)."""

SEE_LIST = "; nsbroker-get list shows what you may use"
"""The remedy, for a socket that the policy does not grant."""


class Refusal(Exception):  # a refusal is a noun
    """The call fails with this errno. The line tells the user why (`None`: the errno explains enough)."""

    def __init__(self, number: int, line: str | None = None) -> None:
        super().__init__(f"errno {number}")
        self.errno = number
        self.line = line


def read_spec(
    namespace: NamespaceRef, args: tuple[int, ...], options_of: Callable[[int], tuple[Option, ...]]
) -> SocketSpec:
    """Return the spec of the socket that a call of socket(2) asks for.

    Args:
        namespace: the namespace of the socket.
        args: the call's registers, unsigned. The first three are family, type and protocol.
        options_of: returns the options that sockets of a family have from birth.

    Raises:
        Refusal: the kernel has no socket of this family, type and protocol in any namespace.
    """
    family, flagged_type, proto = (as_int(arg) for arg in args[:3])
    socket_type, flags = flagged_type & _TYPE_MASK, flagged_type & ~_TYPE_MASK
    if flags & ~(_CLOEXEC | _NONBLOCK) or socket_type > _MAX_TYPE:
        raise Refusal(errno.EINVAL)
    if family in _INET and not 0 <= proto <= _IPPROTO_MAX:
        raise Refusal(errno.EINVAL)
    if family == _NETLINK and proto not in NETLINK_PROTOCOLS.values():
        raise Refusal(errno.EPROTONOSUPPORT)
    bind: Address | None = None
    if family == _PACKET:
        # The broker makes packet sockets without a protocol. They get it by bind(2).
        proto, bind = 0, _packet_address(proto)
    return SocketSpec(namespace, family, socket_type | flags & _NONBLOCK, proto, bind, options=options_of(family))


def descriptor_flags(args: tuple[int, ...]) -> int:
    """Return the flags of the new descriptor: O_CLOEXEC, which equals SOCK_CLOEXEC, or 0."""
    _, flagged_type, *_ = args
    return flagged_type & _CLOEXEC


def option_line(level: int, name: int, value: int | None) -> str | None:
    """Return the line for a program that may not set an option (`None`: it may, since every program may switch it off).

    Args:
        level: the level of setsockopt(2).
        name: the option.
        value: the value that the program sets (`None`: the supervisor may not read it).
    """
    words, flag = OPTIONS_WITH_FLAGS[level, name]
    if value is None:
        return f"can't read the {words} of the program, which can't be traced: its sockets keep that of {flag}"
    if flag != "--mark" and not value:
        return None
    remedy = f"{flag} {value:#x}" if flag == "--mark" else flag
    return f"the program may not set {words} to {value:#x} itself: use nsbroker-get NS run {remedy}"


def _packet_address(proto: int) -> Address | None:
    protocol = socket.ntohs(proto & 0xFFFF)
    return (_EVERY_INTERFACE, protocol) if protocol else None


def as_int(arg: int) -> int:
    """Return the int that the kernel reads from a register of 64 bits."""
    low = arg & 0xFFFFFFFF
    return low - 2**32 if low >= 2**31 else low


def errno_of(error: OSError) -> int:
    """Return the errno with which the program's socket(2) fails.

    An error of the kernel inside the namespace keeps its errno, and a refusal by policy is EACCES. A failure of the
    broker is ENETDOWN: socket(2) never fails with an errno such as ENOENT, and programs take ENETDOWN as the end of
    this attempt only.
    """
    if isinstance(error, AccessDeniedError):
        return errno.EACCES
    if isinstance(error, BrokerUnavailableError) and error.errno == errno.EAGAIN:
        return errno.ENOBUFS
    if isinstance(error, Error):
        return errno.ENETDOWN
    return error.errno or errno.EIO


def line_of(error: OSError, words: str) -> str | None:
    """Return the line that explains a failure to the user (`None`: the errno explains enough).

    Args:
        error: the failure of the call.
        words: the text of strerror(3) for its errno. The broker may have added to it, for example a missing module.
    """
    if isinstance(error, Error):
        return (error.strerror or str(error)) + (SEE_LIST if isinstance(error, AccessDeniedError) else "")
    return None if error.strerror == words else error.strerror
