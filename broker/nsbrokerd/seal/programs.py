"""The seal's programs: one for each place where the kernel asks. Pure.

They run for the control group in which a socket was made, whoever holds it. What is attached there is a stub that goes
on to the program itself by an array with a pin: so programs can be replaced even when that group is no more, and when
there is none, everything is denied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from . import layout
from .assembly import R1, R2, R3, R4, R6, R8, R9, STACK, Assembly
from .fragments import (
    LAST_PORT,
    SOCK_SOURCE_4,
    SOCK_SOURCE_6,
    SOCK_SOURCE_PORT,
    TAIL_CALL,
    Maps,
    find_entry,
    find_limits,
    go_if_anywhere,
    go_if_covered,
    mark_unspecified,
    put_ipv4,
    put_ipv6,
)
from .options import check_option
from .packets import check_incoming, check_outgoing

_CGROUP_SKB, _SOCK_ADDR, _SOCKOPT = 8, 18, 25

# Source: struct bpf_sock_addr.
_USER_IP4, _USER_IP6, _USER_PORT, _SOURCE_IP4, _SOURCE_IP6, _SOCK = 4, 8, 24, 40, 44, 64

_ALLOW, _ALLOW_LOW_PORT = 1, 3


class Program(NamedTuple):
    """A program, by the numbers of include/uapi/linux/bpf.h, and how it is made for the maps it uses."""

    name: str
    type: int
    attach_type: int
    write: Callable[[Assembly, Maps], None]

    def assemble(self, maps: Maps) -> bytes:
        """Make its code."""
        code = Assembly()
        self.write(code, maps)
        return code.assemble()

    def assemble_stub(self, array_fd: int) -> bytes:
        """Make the code of what is attached."""
        code = Assembly()
        code.set_map(R2, array_fd)
        code.set(R3, 0)
        code.call(TAIL_CALL)
        code.give(0)
        return code.assemble()


def _begin(code: Assembly, maps: Maps) -> None:
    code.copy(R6, R1)
    code.load(R8, R6, _SOCK, 8)
    find_entry(code, maps)


def _put_port(code: Assembly) -> None:
    """One port is wanted: the user's."""
    code.load(R9, R6, _USER_PORT)
    code.swap_port(R9)
    code.store(STACK, LAST_PORT, R9)


def _put_address(code: Assembly, version: int, offset_4: int, offset_6: int, prefix: str) -> None:
    if version == layout.IPV4:
        code.load(R1, R6, offset_4)
        put_ipv4(code, R1)
    else:
        put_ipv6(code, R6, offset_6, prefix)


def _end(code: Assembly) -> None:
    code.label("deny")
    code.give(0)
    code.label("allow")
    code.give(_ALLOW)


def _connect(code: Assembly, maps: Maps, version: int) -> None:
    """Is the address one to go to? By the place that asks, never by the family that the user wrote."""
    _begin(code, maps)
    find_limits(code, maps)
    go_if_anywhere(code, layout.CONNECT_COUNT, "allow")
    _put_port(code)
    _put_address(code, version, _USER_IP4, _USER_IP6, "to")
    mark_unspecified(code)
    go_if_covered(code, layout.CONNECT_COUNT, layout.CONNECT_RULES, "allow")
    _end(code)


def _bind(code: Assembly, maps: Maps, version: int) -> None:
    """Is the address one to bind? Then its port may be a low one."""
    _begin(code, maps)
    find_limits(code, maps)
    go_if_anywhere(code, layout.BIND_COUNT, "allow")
    _put_port(code)
    _put_address(code, version, _USER_IP4, _USER_IP6, "at")
    go_if_covered(code, layout.BIND_COUNT, layout.BIND_RULES, "allow low")
    _end(code)
    code.label("allow low")
    code.give(_ALLOW_LOW_PORT)


def _send(code: Assembly, maps: Maps, version: int) -> None:
    """Is the address one to send to; and, if the user chose one to send from, is that one to bind?"""
    _begin(code, maps)
    find_limits(code, maps)
    go_if_anywhere(code, layout.BIND_COUNT, "to where")
    _check_source(code, version)
    code.label("to where")
    go_if_anywhere(code, layout.CONNECT_COUNT, "allow")
    _put_port(code)
    # No port is no address: it goes to the connected peer, which was decided about when it was connected.
    code.go_if(R9, "==", 0, "allow")
    _put_address(code, version, _USER_IP4, _USER_IP6, "to")
    mark_unspecified(code)
    go_if_covered(code, layout.CONNECT_COUNT, layout.CONNECT_RULES, "allow")
    _end(code)


def _check_source(code: Assembly, version: int) -> None:
    """Go to "to where" if the source is the kernel's choice, where the socket is bound, or an address to bind.

    IP_PKTINFO chooses another one. Source: ip(7), ipv6(7).
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
    go_if_covered(code, layout.BIND_COUNT, layout.BIND_RULES, "to where")
    code.go("deny")


PROGRAMS = (
    Program("connect4", _SOCK_ADDR, 10, partial(_connect, version=layout.IPV4)),
    Program("connect6", _SOCK_ADDR, 11, partial(_connect, version=layout.IPV6)),
    Program("bind4", _SOCK_ADDR, 8, partial(_bind, version=layout.IPV4)),
    Program("bind6", _SOCK_ADDR, 9, partial(_bind, version=layout.IPV6)),
    Program("send4", _SOCK_ADDR, 14, partial(_send, version=layout.IPV4)),
    Program("send6", _SOCK_ADDR, 15, partial(_send, version=layout.IPV6)),
    Program("setsockopt", _SOCKOPT, 22, check_option),
    Program("egress", _CGROUP_SKB, 1, check_outgoing),
    Program("ingress", _CGROUP_SKB, 0, check_incoming),
)
"""All of them; a socket is sealed only if every one is attached."""
