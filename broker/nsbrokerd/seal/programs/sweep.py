"""The program that applies new limits to sockets in use: it cuts off each socket that they no longer cover. Pure.

The first wall asks for addresses when a socket connects, and not for each packet. So after a change of limits, the
broker lets the kernel run this program once for each entry. It sets or clears the flag CUT, for which the packet
programs look in any case.
"""

from __future__ import annotations

import socket

from .. import layout
from ..layout import CONNECT
from .assembly import R0, R1, R2, R6, R7, R8, R9, STACK
from .code import ADDRESS, Code
from .hook import Fields, put_own, put_ports

# Source: struct bpf_iter__bpf_sk_storage_map.
_SOCK, _VALUE = 16, 24
_SOCKET_COOKIE = 46
_CLOSE, _LISTEN = 7, 10  # include/net/tcp_states.h
_ENTRY = -56
_STREAM, _SEQPACKET, _SCTP = int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET), int(socket.IPPROTO_SCTP)


def write_sweep(sockets_fd: int, limits_fd: int, fields: Fields) -> bytes:
    """Return the program's instructions, for these two maps and this kernel."""
    code = Code(sockets_fd, limits_fd)
    code.copy(R6, R1)
    code.load(R8, R6, _SOCK, 8)
    code.go_if(R8, "==", 0, "end")
    code.load(R7, R6, _VALUE, 8)
    code.go_if(R7, "==", 0, "end")
    code.store(STACK, _ENTRY, R7, 8)
    _go_if_unchecked(code, fields)
    _go_if_peer_is_free(code, fields)
    code.go_if_flag(layout.CLONED, "not seen by the first wall")
    code.label("peer has one address")
    code.load(R9, R8, fields["skc_dport"], 2)
    code.swap_port(R9)
    put_ports(code, fields, "peer")
    put_own(code, fields, "skc_daddr", "skc_v6_daddr")
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    code.load(R1, STACK, ADDRESS, 8)
    code.load(R2, STACK, ADDRESS + 8, 8)
    code.merge(R1, R2)
    code.go_if(R1, "==", 0, "allow")
    code.go_if_covered(CONNECT, "allow")
    code.go("deny")
    code.label("not seen by the first wall")
    code.go_if_flag(layout.SEVERAL, "peer has several addresses")
    code.go("peer has one address")
    code.label("peer has several addresses")
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    code.go("deny")
    code.label("peer is free")
    code.find_limits()
    code.label("allow")
    code.load(R7, STACK, _ENTRY, 8)
    code.set(R1, ~layout.CUT)
    code.keep_bits(R7, layout.ENTRY_FLAGS, R1)
    code.go("end")
    code.label("deny")
    code.load(R7, STACK, _ENTRY, 8)
    code.set(R1, layout.CUT)
    code.set_bits(R7, layout.ENTRY_FLAGS, R1)
    code.label("end")
    code.end(0)
    return code.assemble()


def _go_if_unchecked(code: Code, fields: Fields) -> None:
    """Jump to "peer has several addresses" if SCTP can make a socket of this one whose peer was not checked.

    SCTP makes sockets of this one. And before connecting was limited, its owner chose a peer, or a peer of several
    addresses asked for an association.
    """
    code.load(R1, R7, layout.ENTRY_FLAGS)
    code.copy(R2, R1)
    code.mask_number(R2, layout.CHOSEN | layout.SEVERAL)
    code.go_if(R2, "==", 0, "checked")
    code.mask_number(R1, layout.PARENT)
    code.go_if(R1, "!=", 0, "peer has several addresses")
    # An older broker's listener lacks the flag.
    code.load(R1, R8, fields["sk_protocol"], 2)
    code.go_if(R1, "!=", _SCTP, "checked")
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "!=", _STREAM, "checked")
    code.load(R1, R8, fields["skc_state"], 1)
    code.go_if(R1, "==", _LISTEN, "peer has several addresses")
    code.label("checked")


def _go_if_peer_is_free(code: Code, fields: Fields) -> None:
    """Jump to "peer is free" if the socket has no peer now, or if a listener accepted the connection.

    A closed socket has none, although the kernel leaves the address of its last one in place.
    """
    code.load(R1, R8, fields["skc_state"], 1)
    code.go_if(R1, "==", _CLOSE, "peer is free")
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "==", _STREAM, "connects")
    code.go_if(R1, "!=", _SEQPACKET, "peer is chosen")
    code.label("connects")
    code.go_if_flag(layout.CHOSEN, "peer is chosen")
    code.go_if_flag(layout.CLONED, "peer is free")  # on Linux 7.2, it has the cookie of its listener
    code.copy(R1, R8)
    code.call(_SOCKET_COOKIE)
    code.load(R1, R7, layout.ENTRY_COOKIE, 8)
    code.go_if_register(R0, "!=", R1, "peer is free")
    code.label("peer is chosen")
