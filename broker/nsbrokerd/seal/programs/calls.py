"""The programs of the second wall: they see the calls of all sockets of the host, by whichever way they come. Pure.

They are programs of the kernel's security module BPF (LSM). For a socket without an entry they allow everything, so
each program first looks for the entry. They decide as the first wall does, and see calls that it misses: `listen`,
`accept`, options that callers of 32 bits set, and all calls of SCTP (see `sctp`).
"""

from __future__ import annotations

import socket

from .. import layout
from ..layout import BIND, CONNECT
from .assembly import R0, R1, R2, R3, R4, R6, R7, R8, R9, STACK
from .code import LAST_PORT, Code
from .hook import (
    ENTRY,
    GIVEN,
    NUMBER,
    Fields,
    Hook,
    begin,
    find_entry,
    find_socket,
    mark,
    put_given,
    put_number,
    put_own,
    read_argument,
)
from .options import COPIED_PROTOCOLS, COPIES, COPIES_OF_UDPLITE, JOINS, REFUSED, UDPLITE
from .parents import become_parent, choose_peer
from .sctp import check_peeloff, check_sctp_addresses, check_sctp_request, copy_sctp_entry, note_sctp_addresses

_INET, _UNSPEC = int(socket.AF_INET), int(socket.AF_UNSPEC)
_STREAM, _RAW = int(socket.SOCK_STREAM), int(socket.SOCK_RAW)
_SCTP = int(socket.IPPROTO_SCTP)

# Source: include/uapi/linux/bpf.h, the numbers of the helpers.
_CURRENT_TASK, _SOCK_FROM_FILE, _TASK_REGISTERS = 158, 162, 175

_SCTP_UDP_PORT, _SCTP_AUTH_CHUNK = 132, 21
"""Source: include/uapi/linux/sctp.h. The first one would hide packets from the first wall."""
_SOCKET, _SO_ATTACH_FILTER, _SO_ATTACH_BPF = int(socket.SOL_SOCKET), 26, 50
_IP, _IP_FREEBIND = int(socket.IPPROTO_IP), 15
_IPV6, _IPV6_FREEBIND = int(socket.IPPROTO_IPV6), 78
_IGNORE_ABORT = (
    *((_SCTP, _SCTP_AUTH_CHUNK), (_SOCKET, _SO_ATTACH_FILTER), (_SOCKET, _SO_ATTACH_BPF)),
    *((_IP, _IP_FREEBIND), (_IPV6, _IPV6_FREEBIND)),
)
"""Options by which a socket of SCTP could ignore the broker's ABORT, or keep it from being sent: see `aborting`."""

_URING_SETSOCKOPT = 3
"""Source: SOCKET_URING_OP_SETSOCKOPT in include/uapi/linux/io_uring.h."""


def check_connect(code: Code, fields: Fields) -> None:
    """Allow a destination that a rule for connecting covers. An address of no family undoes a connection."""
    begin(code, fields)
    read_argument(code, 1, 2)
    code.load(R1, STACK, GIVEN, 2)
    code.go_if(R1, "==", _UNSPEC, "allow")
    code.go_if_flag(layout.CLONED, "deny")
    put_given(code, fields)
    code.find_limits()
    code.go_if_anywhere(CONNECT, "not limited")
    code.mark_unspecified()
    code.go_if_covered(CONNECT, "covered")
    code.go("deny")
    mark(code, layout.CHOSEN, "not limited")
    choose_peer(code, "covered")


def check_bind(code: Code, fields: Fields) -> None:
    """Allow an address that a rule for binding covers."""
    begin(code, fields)
    read_argument(code, 1, 2)
    put_given(code, fields)
    code.find_limits()
    code.go_if_anywhere(BIND, "mark")
    code.go_if_covered(BIND, "mark")
    code.go("deny")
    mark(code, layout.BOUND, "mark")


def check_listener(code: Code, fields: Fields) -> None:
    """Allow to listen at an address that a rule for binding still covers, or that the kernel chose.

    SCTP can then make others of a one-to-one socket: see `become_parent`.
    """
    begin(code, fields)
    _check_own_address(code, fields, "may listen")
    code.go("deny")
    code.label("may listen")
    find_socket(code, fields)
    code.load(R1, R8, fields["sk_protocol"], 2)
    code.go_if(R1, "!=", _SCTP, "allow")
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "!=", _STREAM, "allow")
    code.load(R7, STACK, ENTRY, 8)
    become_parent(code)


def check_accept(code: Code, fields: Fields) -> None:
    """Allow to accept where the socket may listen.

    If connecting is limited, refuse it to a socket of SCTP that can have an association which was not checked: a peer
    of several addresses asked for it before, or the owner began it.
    """
    begin(code, fields)
    code.load(R1, R8, fields["sk_protocol"], 2)
    code.go_if(R1, "!=", _SCTP, "was checked")
    code.go_if_flag(layout.SEVERAL | layout.CHOSEN, "was not checked")
    code.label("was checked")
    _check_own_address(code, fields, "allow")
    code.go("deny")
    code.label("was not checked")
    code.copy(R9, R8)
    code.find_limits()
    code.go_if_anywhere(CONNECT, "is not limited")
    code.go("deny")
    code.label("is not limited")
    code.copy(R8, R9)
    code.load(R7, STACK, ENTRY, 8)
    code.go("was checked")


def _check_own_address(code: Code, fields: Fields, allowed: str) -> None:
    code.load(R9, R8, fields["skc_num"], 2)
    code.store(STACK, LAST_PORT, R9)
    put_own(code, fields, "skc_rcv_saddr", "skc_v6_rcv_saddr")
    code.load(R1, R7, layout.ENTRY_FLAGS)
    code.store(STACK, NUMBER, R1)
    code.find_limits()
    code.load(R1, STACK, NUMBER)
    code.mask_number(R1, layout.BOUND)
    code.go_if(R1, "==", 0, allowed)
    code.go_if_anywhere(BIND, allowed)
    code.go_if_covered(BIND, allowed)


def check_option(code: Code, fields: Fields) -> None:
    """Refuse the options that the first wall refuses, whoever sets them.

    This hook does not see the value. So a caller whose values the first wall does not see, either, may set none of the
    options that depend on it.
    """
    begin(code, fields)
    code.copy(R9, R8)
    put_number(code, 1, R3)
    put_number(code, 2, R4)
    for level, options in {**REFUSED, _SCTP: (_SCTP_UDP_PORT,)}.items():
        code.go_if(R3, "!=", level, f"not level {level}")
        for option in options:
            code.go_if(R4, "==", option, "deny")
        code.label(f"not level {level}")
    code.load(R1, R9, fields["sk_protocol"], 2)
    code.go_if(R1, "!=", _SCTP, "hears no abort")
    code.load(R1, R9, fields["sk_type"], 2)
    code.go_if(R1, "==", _RAW, "hears no abort")
    for number, (level, option) in enumerate(_IGNORE_ABORT):
        code.go_if(R3, "!=", level, f"not option {number}")
        code.go_if(R4, "==", option, "deny")
        code.label(f"not option {number}")
    code.label("hears no abort")
    for level, options in JOINS.items():
        code.go_if(R3, "!=", level, f"joins nothing of level {level}")
        for option in options:
            code.go_if(R4, "==", option, "joins")
        code.label(f"joins nothing of level {level}")
    for level, option in COPIES:
        code.go_if(R3, "!=", level, f"no copies by level {level}")
        code.go_if(R4, "==", option, "copies")
        code.label(f"no copies by level {level}")
    level, option = COPIES_OF_UDPLITE
    code.go_if(R3, "!=", level, "allow")
    code.go_if(R4, "!=", option, "allow")
    code.load(R1, R9, fields["sk_type"], 2)
    code.go_if(R1, "==", _RAW, "allow")
    code.load(R1, R9, fields["sk_protocol"], 2)
    code.go_if(R1, "==", UDPLITE, "copies of packets")
    code.go("allow")

    code.label("joins")
    code.load(R1, R9, fields["sk_protocol"], 2)
    code.go_if(R1, "==", _SCTP, "joins unseen")
    _go_if_seen(code, fields, "allow", "joins")
    code.label("joins unseen")
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    code.go("deny")

    code.label("copies")
    code.load(R1, R9, fields["sk_type"], 2)
    code.go_if(R1, "==", _RAW, "copies of packets")
    code.load(R1, R9, fields["sk_protocol"], 2)
    for protocol in COPIED_PROTOCOLS:
        code.go_if(R1, "==", protocol, "copies of packets")
    code.go("allow")
    code.label("copies of packets")
    _go_if_seen(code, fields, "allow", "copies")


def _go_if_seen(code: Code, fields: Fields, label: str, prefix: str) -> None:
    """Jump to `label` if the first wall's program sees the caller's value.

    The kernel skips that program for callers of 32 bits: it can't translate their values. Source: __sys_setsockopt in
    net/socket.c; in_compat_syscall of the machine.
    """
    if "compat.word" not in fields:
        code.go(label)  # this machine's kernels have no such callers
        return
    code.call(_CURRENT_TASK)
    code.copy(R7, R0)
    code.load(R1, R7, fields["compat.word"])
    code.mask_number(R1, fields["compat.bit"])
    code.go_if(R1, "!=", 0, f"{prefix}: unseen")
    if "x32.word" in fields:
        code.copy(R1, R7)
        code.call(_TASK_REGISTERS)
        code.load(R1, R0, fields["x32.word"], 8)
        code.mask_number(R1, fields["x32.bit"])
        code.go_if(R1, "!=", 0, f"{prefix}: unseen")
    code.go(label)
    code.label(f"{prefix}: unseen")
    code.load(R7, STACK, ENTRY, 8)


def check_traffic(code: Code, fields: Fields) -> None:
    """Allow SCTP to send and receive as long as the socket has a grant. The first wall stops all other sockets.

    So others do not even pay for the search for their entry.
    """
    find_socket(code, fields)
    code.load(R1, R8, fields["sk_protocol"], 2)
    code.go_if(R1, "!=", _SCTP, "allow")
    find_entry(code)
    code.find_limits()
    code.go("allow")


def check_ring_command(code: Code, fields: Fields) -> None:
    """Refuse to set options by io_uring, because a ring of 32 bits gets past the first wall's program."""
    code.load(R1, R6, 0, 8)
    code.load(R2, R1, fields["io_uring_cmd.cmd_op"])
    code.go_if(R2, "!=", _URING_SETSOCKOPT, "allow")
    code.load(R1, R1, fields["io_uring_cmd.file"], 8)
    code.go_if(R1, "==", 0, "allow")
    code.call(_SOCK_FROM_FILE)
    code.go_if(R0, "==", 0, "allow")
    code.load(R8, R0, fields["socket.sk"], 8)
    code.go_if(R8, "==", 0, "allow")
    find_entry(code)


HOOKS = {
    hook.name: hook
    for hook in (
        Hook("socket_connect", check_connect),
        Hook("socket_bind", check_bind),
        Hook("socket_listen", check_listener),
        Hook("socket_accept", check_accept),
        Hook("socket_setsockopt", check_option),
        Hook("socket_sendmsg", check_traffic),
        Hook("socket_recvmsg", check_traffic),
        Hook("uring_cmd", check_ring_command),
        Hook("socket_getsockopt", check_peeloff),
        Hook("sctp_bind_connect", check_sctp_addresses),
        Hook("sctp_assoc_request", check_sctp_request),
        Hook("sctp_assoc_established", note_sctp_addresses),
        Hook("sctp_sk_clone", copy_sctp_entry),
    )
}
