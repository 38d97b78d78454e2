"""The programs of the second wall: they see the calls of all sockets of the host, by whichever way they come. Pure.

They are programs of the kernel's security module BPF (LSM). For a socket without an entry they allow everything, so
each program first looks for the entry. They decide as the first wall does, and see calls that it misses: `listen`,
`accept`, the destinations of UDP-Lite, ICMP and raw sockets before the kernel copies a packet for its own namespace,
options that callers of 32 bits set, and all calls of SCTP.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ...policy.rules import ALL_PORTS
from .. import layout
from ..layout import BIND, CONNECT
from .assembly import R0, R1, R2, R3, R4, R6, R7, R8, R9, STACK
from .code import LAST_PORT, Code
from .options import COPIES, JOINS, REFUSED

_INET, _INET6, _UNSPEC = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNSPEC)
_RAW = int(socket.SOCK_RAW)
_TCP, _UDP, _SCTP, _MPTCP = int(socket.IPPROTO_TCP), int(socket.IPPROTO_UDP), int(socket.IPPROTO_SCTP), 262
_ICMP, _ICMPV6 = int(socket.IPPROTO_ICMP), int(socket.IPPROTO_ICMPV6)

# Source: include/uapi/linux/bpf.h, the numbers of the helpers.
_SEND_SIGNAL, _PROBE_READ_KERNEL, _CURRENT_TASK, _SOCK_FROM_FILE, _TASK_REGISTERS = 109, 113, 158, 162, 175

_EPERM = -1

# Offsets on the stack, below those of Code.
_NUMBER, _ENTRY, _GIVEN, _OPTION = -48, -56, -88, -96
_GIVEN_BYTES = 28
_IPV4_BYTES, _IPV6_BYTES = 16, 24
"""The least bytes that the kernel takes for an address of its family."""
_PORT_AT, _IPV4_AT, _IPV6_AT = 2, 4, 8
"""Offsets in struct sockaddr_in and sockaddr_in6."""

# Source: include/uapi/linux/sctp.h. The peer asks for the last one (its number is in network order).
_SCTP_SET_PEER_PRIMARY, _SCTP_PRIMARY, _SCTP_UDP_PORT, _SCTP_BINDX_ADD = 5, 6, 132, 100
_SCTP_CONNECTX, _SCTP_SENDMSG_CONNECT = 110, 126
_SCTP_PARAM_SET_PRIMARY = socket.htons(0xC004)

_URING_SETSOCKOPT = 3
"""Source: SOCKET_URING_OP_SETSOCKOPT in include/uapi/linux/io_uring.h."""

_SIGKILL = 9

Fields = Mapping[str, int]
"""Offsets of fields in this kernel's structs, by struct and name, and the bits that tell callers of 32 bits."""

_Prepare = Callable[[Code, Fields], None]


class Hook(NamedTuple):
    """A program of the second wall, and the hook of the kernel that runs it."""

    name: str
    prepare: _Prepare

    @property
    def function(self) -> str:
        """The kernel's function for the hook, in the description of its types."""
        return f"bpf_lsm_{self.name}"

    def assemble(self, sockets_fd: int, limits_fd: int, fields: Fields) -> bytes:
        """Return the instructions, for these two maps and this kernel."""
        code = Code(sockets_fd, limits_fd)
        code.copy(R6, R1)
        self.prepare(code, fields)
        code.label("deny")
        code.end(_EPERM)
        code.label("allow")
        code.end(0)
        return code.assemble()


def _begin(code: Code, fields: Fields) -> None:
    """Find the entry of the hook's socket. Allow a socket without an entry, and deny a socket that is cut off."""
    _find_socket(code, fields)
    _find_entry(code)


def _find_socket(code: Code, fields: Fields) -> None:
    code.load(R2, R6, 0, 8)
    code.load(R8, R2, fields["socket.sk"], 8)
    code.go_if(R8, "==", 0, "allow")


def _find_entry(code: Code) -> None:
    """Find the entry of the socket in R8."""
    code.find_entry_or_go(R8, "allow")
    code.store(STACK, _ENTRY, R7, 8)


def _put_number(code: Code, argument: int, to: int) -> None:
    """Load an argument of the hook that is an int. The kernel leaves the upper half of its register undefined."""
    code.load(R1, R6, 8 * argument, 8)
    code.store(STACK, _NUMBER, R1)
    code.load(to, STACK, _NUMBER)


def _read_address(code: Code) -> None:
    """Copy the address that R3 points to. Its length is on the stack."""
    code.copy(R1, STACK)
    code.add(R1, _GIVEN)
    code.set(R2, _GIVEN_BYTES)
    code.call(_PROBE_READ_KERNEL)
    code.go_if(R0, "!=", 0, "deny")


def _read_argument(code: Code, address: int, length: int) -> None:
    _put_number(code, length, R1)
    code.load(R3, R6, 8 * address, 8)
    _read_address(code)


def _put_given(code: Code, fields: Fields) -> None:
    """Take the copied address as the one to compare. R8 is the socket, which decides how the kernel reads it."""
    code.load(R9, STACK, _GIVEN + _PORT_AT, 2)
    code.swap_port(R9)
    put_ports(code, fields, "given")
    code.load(R3, STACK, _NUMBER)
    code.load(R1, R8, fields["skc_family"], 2)
    code.go_if(R1, "!=", _INET6, "given as version 4")
    code.load(R1, STACK, _GIVEN, 2)
    code.go_if(R1, "==", _INET, "given as version 4")
    code.go_if(R3, "<", _IPV6_BYTES, "deny")
    code.put_ipv6(STACK, _GIVEN + _IPV6_AT, "given")
    code.go("given is put")
    code.label("given as version 4")
    code.go_if(R3, "<", _IPV4_BYTES, "deny")
    code.load(R1, STACK, _GIVEN + _IPV4_AT)
    code.put_ipv4(R1)
    code.label("given is put")


def put_ports(code: Code, fields: Fields, prefix: str) -> None:
    """Require a rule for the port in R9, or for all ports if the socket in R8 has none."""
    code.store(STACK, LAST_PORT, R9)
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "==", _RAW, f"{prefix}: all ports")
    code.load(R1, R8, fields["sk_protocol"], 2)
    code.go_if(R1, "==", _ICMP, f"{prefix}: all ports")
    code.go_if(R1, "!=", _ICMPV6, f"{prefix}: ports are put")
    code.label(f"{prefix}: all ports")
    code.set(R9, ALL_PORTS[0])
    code.store_number(STACK, LAST_PORT, ALL_PORTS[1])
    code.label(f"{prefix}: ports are put")


def put_own(code: Code, fields: Fields, version_4: str, version_6: str) -> None:
    """Take an address of the socket in R8 itself as the one to compare."""
    code.load(R1, R8, fields["skc_family"], 2)
    code.go_if(R1, "==", _INET6, "own as version 6")
    code.load(R1, R8, fields[version_4])
    code.put_ipv4(R1)
    code.go("own is put")
    code.label("own as version 6")
    code.put_ipv6(R8, fields[version_6], "own")
    code.label("own is put")


def _mark(code: Code, flag: int, label: str) -> None:
    """Allow, and set a flag of the entry."""
    code.label(label)
    code.load(R7, STACK, _ENTRY, 8)
    code.set(R1, flag)
    code.set_bits(R7, layout.ENTRY_FLAGS, R1)
    code.go("allow")


def check_connect(code: Code, fields: Fields) -> None:
    """Allow a destination that a rule for connecting covers. An address of no family undoes a connection."""
    _begin(code, fields)
    _read_argument(code, 1, 2)
    code.load(R1, STACK, _GIVEN, 2)
    code.go_if(R1, "==", _UNSPEC, "allow")
    code.go_if_flag(layout.CLONED, "deny")
    _put_given(code, fields)
    code.find_limits()
    code.go_if_anywhere(CONNECT, "mark")
    code.mark_unspecified()
    code.go_if_covered(CONNECT, "mark")
    code.go("deny")
    _mark(code, layout.CHOSEN, "mark")


def check_bind(code: Code, fields: Fields) -> None:
    """Allow an address that a rule for binding covers."""
    _begin(code, fields)
    _read_argument(code, 1, 2)
    _put_given(code, fields)
    code.find_limits()
    code.go_if_anywhere(BIND, "mark")
    code.go_if_covered(BIND, "mark")
    code.go("deny")
    _mark(code, layout.BOUND, "mark")


def check_listener(code: Code, fields: Fields) -> None:
    """Allow to listen and to accept at an address that a rule for binding still covers, or that the kernel chose."""
    _begin(code, fields)
    code.load(R9, R8, fields["skc_num"], 2)
    code.store(STACK, LAST_PORT, R9)
    put_own(code, fields, "skc_rcv_saddr", "skc_v6_rcv_saddr")
    code.load(R1, R7, layout.ENTRY_FLAGS)
    code.store(STACK, _NUMBER, R1)
    code.find_limits()
    code.load(R1, STACK, _NUMBER)
    code.mask_number(R1, layout.BOUND)
    code.go_if(R1, "==", 0, "allow")
    code.go_if_anywhere(BIND, "allow")
    code.go_if_covered(BIND, "allow")


def check_option(code: Code, fields: Fields) -> None:
    """Refuse the options that the first wall refuses, whoever sets them.

    This hook does not see the value. So a caller whose values the first wall does not see, either, may set none of the
    options that depend on it.
    """
    _begin(code, fields)
    code.copy(R9, R8)
    _put_number(code, 1, R3)
    _put_number(code, 2, R4)
    for level, options in {**REFUSED, _SCTP: (_SCTP_UDP_PORT,)}.items():
        code.go_if(R3, "!=", level, f"not level {level}")
        for option in options:
            code.go_if(R4, "==", option, "deny")
        code.label(f"not level {level}")
    for level, options in JOINS.items():
        code.go_if(R3, "!=", level, f"joins nothing of level {level}")
        for option in options:
            code.go_if(R4, "==", option, "joins")
        code.label(f"joins nothing of level {level}")
    for level, option in COPIES:
        code.go_if(R3, "!=", level, f"no copies by level {level}")
        code.go_if(R4, "==", option, "copies")
        code.label(f"no copies by level {level}")
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
    code.go_if(R1, "==", _ICMP, "copies of packets")
    code.go_if(R1, "!=", _ICMPV6, "allow")
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
    code.load(R7, STACK, _ENTRY, 8)


def check_send(code: Code, fields: Fields) -> None:
    """Allow a destination that a rule for connecting covers. The first wall checks TCP and UDP, and SCTP's packets.

    So sockets of TCP and UDP do not even pay for the search for their entry.
    """
    _find_socket(code, fields)
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "==", _RAW, "undecided")
    code.load(R1, R8, fields["sk_protocol"], 2)
    for protocol in (_UDP, _TCP, _MPTCP):
        code.go_if(R1, "==", protocol, "allow")
    code.label("undecided")
    _find_entry(code)
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "==", _RAW, "goes by its destination")
    code.load(R1, R8, fields["sk_protocol"], 2)
    code.go_if(R1, "==", _SCTP, "has a grant")
    code.label("goes by its destination")
    code.load(R1, R6, 8, 8)
    code.load(R2, R1, fields["msghdr.msg_namelen"])
    code.store(STACK, _NUMBER, R2)
    code.load(R3, R1, fields["msghdr.msg_name"], 8)
    code.go_if(R3, "==", 0, "to the peer")
    code.go_if(R2, "==", 0, "to the peer")
    _read_address(code)
    _put_given(code, fields)
    code.go("decide")

    code.label("to the peer")
    code.load(R9, R8, fields["skc_dport"], 2)
    code.swap_port(R9)
    put_ports(code, fields, "peer")
    put_own(code, fields, "skc_daddr", "skc_v6_daddr")
    code.label("decide")
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    code.mark_unspecified()
    code.go_if_covered(CONNECT, "allow")
    code.go("deny")
    code.label("has a grant")
    code.find_limits()
    code.go("allow")


def check_receive(code: Code, fields: Fields) -> None:
    """Allow SCTP to receive as long as the socket has a grant. The first wall sees the packets of other sockets."""
    _find_socket(code, fields)
    code.load(R1, R8, fields["sk_protocol"], 2)
    code.go_if(R1, "!=", _SCTP, "allow")
    _find_entry(code)
    code.find_limits()
    code.go("allow")


def check_sctp_addresses(code: Code, fields: Fields) -> None:
    """Allow one address that a rule covers. SCTP asks for each address of bindx, connectx and sendto, and of a peer.

    An accepted or peeled off socket can begin no other association, because the first wall does not see its packets.
    A socket that begins one keeps the flag for that, also for the sockets that are peeled off from it.
    """
    code.load(R8, R6, 0, 8)
    _find_entry(code)
    _put_number(code, 1, R3)
    for option in (_SCTP_SET_PEER_PRIMARY, _SCTP_PRIMARY, _SCTP_PARAM_SET_PRIMARY):
        code.go_if(R3, "==", option, "allow")  # one of the addresses that were allowed before
    code.store(STACK, _OPTION, R3, 8)
    code.go_if_flag(layout.CLONED, "deny")
    _read_argument(code, 2, 3)
    code.load(R1, STACK, _NUMBER)
    code.go_if(R1, ">", _GIVEN_BYTES, "deny")
    _put_given(code, fields)
    code.find_limits()
    code.load(R1, STACK, _OPTION, 8)
    code.go_if(R1, "==", _SCTP_BINDX_ADD, "binds")
    code.go_if_anywhere(CONNECT, "connects")
    code.mark_unspecified()
    code.go_if_covered(CONNECT, "connects")
    code.go("deny")
    code.label("connects")
    code.load(R1, STACK, _OPTION, 8)
    for option in (_SCTP_CONNECTX, _SCTP_SENDMSG_CONNECT):
        code.go_if(R1, "==", option, "mark")
    code.go("allow")
    _mark(code, layout.CHOSEN, "mark")
    code.label("binds")
    code.go_if_anywhere(BIND, "allow")
    code.go_if_covered(BIND, "allow")


def copy_sctp_entry(code: Code, fields: Fields) -> None:
    """Copy the entry to the socket that SCTP makes for `accept` or `peeloff`. Without memory, end the caller.

    The first wall does not see the packets of the new socket. So if its grant limits connecting, it can't have a peer
    of several addresses: nothing checked the others.
    """
    code.load(R8, R6, 8, 8)
    code.find_any_entry_or_go(R8, "allow")
    code.store(STACK, _ENTRY, R7, 8)
    code.load(R9, R6, 16, 8)
    code.create_entry(R9, R7)
    code.go_if(R0, "==", 0, "no memory")
    code.copy(R9, R0)
    code.set(R1, layout.CLONED)
    code.set_bits(R9, layout.ENTRY_FLAGS, R1)
    code.load(R1, R6, 0, 8)
    code.load(R1, R1, fields["asoc.transport_count"], 2)
    code.go_if(R1, "<=", 1, "allow")
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    code.set(R1, layout.REVOKED)
    code.set_bits(R9, layout.ENTRY_FLAGS, R1)
    code.go("allow")
    code.label("no memory")
    code.set(R1, _SIGKILL)
    code.call(_SEND_SIGNAL)
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
    _find_entry(code)


HOOKS = {
    hook.name: hook
    for hook in (
        Hook("socket_connect", check_connect),
        Hook("socket_bind", check_bind),
        Hook("socket_listen", check_listener),
        Hook("socket_accept", check_listener),
        Hook("socket_setsockopt", check_option),
        Hook("socket_sendmsg", check_send),
        Hook("socket_recvmsg", check_receive),
        Hook("uring_cmd", check_ring_command),
        Hook("sctp_bind_connect", check_sctp_addresses),
        Hook("sctp_sk_clone", copy_sctp_entry),
    )
}
