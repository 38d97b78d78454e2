"""The programs for connect(2), bind(2) and sendto(2): they see the address that the client passed. Pure.

The kernel runs them for TCP and UDP. A program goes by the hook that runs it (IPv4 or IPv6), never by the family that
the client wrote into its address.
"""

from __future__ import annotations

from .. import layout
from ..layout import BIND, CONNECT
from .assembly import R1, R2, R3, R4, R6, R8, R9, STACK
from .code import LAST_PORT, SOCK_SOURCE_4, SOCK_SOURCE_6, SOCK_SOURCE_PORT, Code

# Source: struct bpf_sock_addr.
_USER_IP4, _USER_IP6, _USER_PORT, _SOURCE_IP4, _SOURCE_IP6, _SOCK = 4, 8, 24, 40, 44, 64

_ALLOW_LOW_PORT = 3


def check_connect(code: Code, version: int) -> None:
    """Allow a destination that a rule for connecting covers."""
    _find_limits(code)
    code.go_if_anywhere(CONNECT, "allow")
    _put_port(code)
    _check_destination(code, version)


def check_bind(code: Code, version: int) -> None:
    """Allow an address that a rule for binding covers. Its port may then be a low one."""
    _find_limits(code)
    code.go_if_anywhere(BIND, "allow")
    _put_port(code)
    _put_address(code, version, _USER_IP4, _USER_IP6, "at")
    code.go_if_covered(BIND, "allow low")
    code.end_with_verdict()
    code.label("allow low")
    code.end(_ALLOW_LOW_PORT)


def check_send(code: Code, version: int) -> None:
    """Allow a destination that a rule for connecting covers, from a source that the socket may be bound to."""
    _find_limits(code)
    code.go_if_anywhere(BIND, "to where")
    _check_source(code, version)
    code.label("to where")
    code.go_if_anywhere(CONNECT, "allow")
    _put_port(code)
    # Without a port there is no address. The datagram goes to the connected peer, which was checked on connect(2).
    code.go_if(R9, "==", 0, "allow")
    _check_destination(code, version)


def _find_limits(code: Code) -> None:
    code.copy(R6, R1)
    code.load(R8, R6, _SOCK, 8)
    code.find_entry()
    code.find_limits()


def _put_port(code: Code) -> None:
    """Require a rule for one port, the one of the client's address."""
    code.load(R9, R6, _USER_PORT)
    code.swap_port(R9)
    code.store(STACK, LAST_PORT, R9)


def _put_address(code: Code, version: int, offset_4: int, offset_6: int, prefix: str) -> None:
    if version == layout.IPV4:
        code.load(R1, R6, offset_4)
        code.put_ipv4(R1)
    else:
        code.put_ipv6(R6, offset_6, prefix)


def _check_destination(code: Code, version: int) -> None:
    _put_address(code, version, _USER_IP4, _USER_IP6, "to")
    code.mark_unspecified()
    code.go_if_covered(CONNECT, "allow")
    code.end_with_verdict()


def _check_source(code: Code, version: int) -> None:
    """Jump to "to where" if the kernel chooses the source, the socket is bound to it, or a rule for binding covers it.

    A client chooses another source with IP_PKTINFO. Source: ip(7), ipv6(7).
    """
    code.load(R3, R6, _SOCK, 8)
    code.load(R9, R3, SOCK_SOURCE_PORT)
    code.store(STACK, LAST_PORT, R9)
    source, bound, end = (_SOURCE_IP4, SOCK_SOURCE_4, 4) if version == layout.IPV4 else (_SOURCE_IP6, SOCK_SOURCE_6, 16)
    code.set(R4, 0)
    for word in range(0, end, 4):
        code.load(R1, R6, source + word)
        code.merge(R4, R1)
    code.go_if(R4, "==", 0, "to where")
    for word in range(0, end, 4):
        code.load(R1, R6, source + word)
        code.load(R2, R3, bound + word)
        code.go_if_register(R1, "!=", R2, "from where")
    code.go("to where")
    code.label("from where")
    _put_address(code, version, _SOURCE_IP4, _SOURCE_IP6, "from")
    code.go_if_covered(BIND, "to where")
    code.go("deny")
