"""The programs of the second wall for SCTP: they see each address of an association, and the sockets that SCTP makes.

Pure.

Each packet shows its address to the first wall, except the packets of a socket that SCTP made for accept(2) or
`peeloff`. So if connecting is limited, the peer of such a socket must have one address, and never get more. Listeners
refuse other peers when they ask for an association. And a socket either begins associations, or others are made of it:
see `parents`. If SCTP makes one all the same, because the limit changed meanwhile, the new socket is revoked.

This relies on net/sctp of the kernel: an association gets addresses from connectx and sendmsg, from an INIT or INIT
ACK before it is established, and from an ASCONF.
"""

from __future__ import annotations

import socket

from .. import layout
from ..layout import BIND, CONNECT
from .assembly import R0, R1, R2, R3, R6, R7, R8, R9, STACK
from .code import Code
from .hook import (
    BELOW_GIVEN,
    ENTRY,
    GIVEN,
    GIVEN_BYTES,
    IPV4_AT,
    IPV6_AT,
    NUMBER,
    PROBE_READ_KERNEL,
    Fields,
    find_entry,
    find_socket,
    mark,
    put_given,
    put_number,
    read_address,
    read_argument,
)
from .parents import become_parent, choose_peer

_INET, _INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_STREAM, _SEQPACKET = int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET)
_SOL_SCTP = int(socket.IPPROTO_SCTP)

# Source: include/uapi/linux/sctp.h. The peer asks for the last two (their numbers are in network order).
_SET_PEER_PRIMARY, _PRIMARY, _BINDX_ADD = 5, 6, 100
_CONNECTX, _SENDMSG_CONNECT = 110, 126
_PEELOFF, _PEELOFF_FLAGS = 102, 122
_PARAM_ADD_IP, _PARAM_SET_PRIMARY = socket.htons(0xC001), socket.htons(0xC004)

_CLOSED, _ESTABLISHED = 0, 3
"""States of an association. Those between them are states of one that its owner begins. Source: enum sctp_state in
include/net/sctp/constants.h."""
_CONNECTED = 1
"""The state of a socket. Source: include/net/tcp_states.h."""

# An INIT, as RFC 9260 has it in sections 3 and 3.3.2.
_HEADER_BYTES, _PARAMETERS_AT, _PARAMETER_BYTES = 12, 20, 4
_LENGTH_AT = 2
_INIT = 1
_ADDRESS_4, _ADDRESS_6, _HOST_NAME = 5, 6, 11
_MAX_PARAMETERS = 32
"""An INIT of Linux has at most 12 that are no addresses."""

# Source: include/uapi/linux/bpf.h.
_SEND_SIGNAL = 109
_SIGKILL = 9

# Offsets on the stack.
_OPTION = BELOW_GIVEN
_SOURCE_BYTES = 24
_SOURCE = _OPTION - _SOURCE_BYTES
_MADE = _SOURCE - 8


def check_sctp_addresses(code: Code, fields: Fields) -> None:
    """Allow one address that a rule covers. SCTP asks for each address of bindx, connectx and sendto, and of a peer.

    An accepted or peeled off socket can begin no other association, because the first wall does not see its packets.
    A socket that begins one keeps the flag for that, also for the sockets that are peeled off from it.
    """
    code.load(R8, R6, 0, 8)
    find_entry(code)
    put_number(code, 1, R3)
    for option in (_SET_PEER_PRIMARY, _PRIMARY, _PARAM_SET_PRIMARY):
        code.go_if(R3, "==", option, "allow")  # one of the addresses that were allowed before
    code.store(STACK, _OPTION, R3, 8)
    code.go_if_flag(layout.CLONED, "deny")
    code.go_if(R3, "==", _PARAM_ADD_IP, "peer adds")
    code.label("one address")
    read_argument(code, 2, 3)
    code.load(R1, STACK, NUMBER)
    code.go_if(R1, ">", GIVEN_BYTES, "deny")
    put_given(code, fields)
    code.find_limits()
    code.load(R1, STACK, _OPTION, 8)
    code.go_if(R1, "==", _BINDX_ADD, "binds")
    code.go_if_anywhere(CONNECT, "not limited")
    code.mark_unspecified()
    code.go_if_covered(CONNECT, "covered")
    code.go("deny")
    for reason in ("not limited", "covered"):
        code.label(reason)
        code.load(R1, STACK, _OPTION, 8)
        for option in (_CONNECTX, _SENDMSG_CONNECT):
            code.go_if(R1, "==", option, f"begins, {reason}")
        code.go("allow")
    mark(code, layout.CHOSEN, "begins, not limited")
    choose_peer(code, "begins, covered")
    _check_addition(code, fields)
    code.label("binds")
    code.go_if_anywhere(BIND, "allow")
    code.go_if_covered(BIND, "allow")


def _check_addition(code: Code, fields: Fields) -> None:
    """Go on for a one-to-one socket that is connected. Others could make a socket that has the peer's new address."""
    code.label("peer adds")
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "!=", _STREAM, "peer adds to one of many")
    code.load(R1, R8, fields["skc_state"], 1)
    code.go_if(R1, "==", _CONNECTED, "one address")
    code.label("peer adds to one of many")
    _deny_or_note(code, "addition")


def _deny_or_note(code: Code, prefix: str) -> None:
    """Deny if connecting is limited. Otherwise allow, and set the flag of several addresses. R7 is the entry."""
    code.find_limits()
    code.go_if_anywhere(CONNECT, f"{prefix}: note")
    code.go("deny")
    mark(code, layout.SEVERAL, f"{prefix}: note")


def check_sctp_request(code: Code, fields: Fields) -> None:
    """Refuse an INIT that lists other addresses than its own source, if connecting is limited.

    The kernel also asks for each cookie, whose INIT was checked. But see `_check_collision`.
    """
    code.load(R9, R6, 0, 8)
    code.load(R8, R9, fields["asoc.sk"], 8)
    find_entry(code)
    _check_collision(code, fields)
    code.load(R2, R6, 8, 8)
    code.load(R8, R2, fields["sk_buff.head"], 8)
    code.load(R1, R2, fields["sk_buff.transport_header"], 2)
    code.add_register(R8, R1)
    code.add(R8, _HEADER_BYTES)
    _read(code, GIVEN, _PARAMETER_BYTES)
    code.load(R1, STACK, GIVEN, 1)
    code.go_if(R1, "!=", _INIT, "allow")
    _look_for_addresses(code, fields)
    code.label("several addresses")
    code.load(R7, STACK, ENTRY, 8)
    _deny_or_note(code, "request")


def _check_collision(code: Code, fields: Fields) -> None:
    """Deny a cookie that establishes an association which a socket without the first wall began, if it is limited.

    This happens if both sides begin one at the same moment. Then `note_sctp_addresses` does not see which addresses the
    peer has. The socket was peeled off early, when connecting was not limited. If it still is not, note this. Some
    kernels give the program the association that the owner began, and others a new one, which has the same tags.
    """
    code.go_if_flag(layout.CLONED, "without the first wall")
    code.go("no collision")
    code.label("without the first wall")
    code.load(R1, R9, fields["asoc.state"])
    code.go_if(R1, "==", _CLOSED, "new association")
    code.go_if(R1, "<", _ESTABLISHED, "collision")
    code.go("no collision")
    code.label("new association")
    code.load(R1, R9, fields["asoc.my_vtag"])
    code.load(R2, R9, fields["asoc.my_ttag"])
    code.go_if_register(R1, "!=", R2, "no collision")
    code.label("collision")
    _deny_or_note(code, "collision")
    code.label("no collision")


def _look_for_addresses(code: Code, fields: Fields) -> None:
    """Allow the INIT that R8 points to if it lists no other address than its source. R9 is the new association."""
    place, end, number = R8, R9, R7
    code.copy(R3, R9)
    code.add(R3, fields["asoc.peer_addr"])
    _copy(code, _SOURCE, _SOURCE_BYTES)
    code.load(R1, STACK, GIVEN + _LENGTH_AT, 2)
    code.swap_port(R1)
    code.copy(end, place)
    code.add_register(end, R1)
    code.add(place, _PARAMETERS_AT)
    code.set(number, 0)
    code.label("next parameter")
    code.copy(R1, place)
    code.add(R1, _PARAMETER_BYTES)
    code.go_if_register(R1, ">", end, "allow")
    code.go_if(number, ">=", _MAX_PARAMETERS, "several addresses")
    _read(code, GIVEN, _PARAMETER_BYTES + 16)
    code.load(R1, STACK, GIVEN, 2)
    code.swap_port(R1)
    code.go_if(R1, "==", _HOST_NAME, "several addresses")
    for kind, family, at, length in ((_ADDRESS_4, _INET, IPV4_AT, 4), (_ADDRESS_6, _INET6, IPV6_AT, 16)):
        code.go_if(R1, "!=", kind, f"not of kind {kind}")
        code.load(R1, STACK, _SOURCE, 2)
        code.go_if(R1, "!=", family, "several addresses")
        for word in range(0, length, 4):
            code.load(R1, STACK, _SOURCE + at + word)
            code.load(R2, STACK, GIVEN + _PARAMETER_BYTES + word)
            code.go_if_register(R1, "!=", R2, "several addresses")
        code.go("address of its own")
        code.label(f"not of kind {kind}")
    code.label("address of its own")
    code.load(R1, STACK, GIVEN + _LENGTH_AT, 2)
    code.swap_port(R1)
    code.go_if(R1, "<", _PARAMETER_BYTES, "several addresses")
    code.add(R1, 3)
    code.mask_number(R1, ~3)
    code.add_register(place, R1)
    code.add(number, 1)
    code.go("next parameter")


def _read(code: Code, to: int, length: int) -> None:
    """Copy bytes that R8 points to."""
    code.copy(R3, R8)
    _copy(code, to, length)


def _copy(code: Code, to: int, length: int) -> None:
    """Copy bytes that R3 points to. A packet has room behind its end, so there can be more than it has."""
    code.copy(R1, STACK)
    code.add(R1, to)
    code.set(R2, length)
    code.call(PROBE_READ_KERNEL)
    code.go_if(R0, "!=", 0, "deny")


def note_sctp_addresses(code: Code, fields: Fields) -> None:
    """Refuse to establish an association with a peer of several addresses, if SCTP has made its socket before.

    Its owner peeled it off early, when connecting was not limited. If it still is not, note it.
    """
    code.load(R9, R6, 0, 8)
    code.load(R8, R9, fields["asoc.sk"], 8)
    find_entry(code)
    code.load(R1, R9, fields["asoc.transport_count"], 2)
    code.go_if(R1, "<=", 1, "allow")
    code.go_if_flag(layout.CLONED, "without the first wall")
    code.go("allow")
    code.label("without the first wall")
    _deny_or_note(code, "clone")


def check_peeloff(code: Code, fields: Fields) -> None:
    """Allow to peel off an association of a one-to-many socket: see `become_parent`. SCTP refuses it to all others."""
    put_number(code, 1, R3)
    code.go_if(R3, "!=", _SOL_SCTP, "allow")
    put_number(code, 2, R3)
    code.go_if(R3, "==", _PEELOFF, "peels off")
    code.go_if(R3, "!=", _PEELOFF_FLAGS, "allow")
    code.label("peels off")
    find_socket(code, fields)
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "!=", _SEQPACKET, "allow")
    find_entry(code)
    code.go_if_flag(layout.CLONED, "allow")
    become_parent(code)


def copy_sctp_entry(code: Code, fields: Fields) -> None:
    """Copy the entry to the socket that SCTP makes for `accept` or `peeloff`. Without memory, end the caller.

    Revoke the new socket if connecting is limited, and the peer has several addresses or can still get more, or the
    owner chose a peer that the limit does not cover any more. This only happens if a limit changed since the call
    began. Then its parent is cut off, and the programs for each packet stand.
    """
    code.load(R8, R6, 8, 8)
    code.find_any_entry_or_go(R8, "allow")
    code.store(STACK, ENTRY, R7, 8)
    code.load(R9, R6, 16, 8)
    code.create_entry(R9, R7)
    code.go_if(R0, "==", 0, "end the caller")
    code.copy(R9, R0)
    code.store(STACK, _MADE, R9, 8)
    _put_flags_of_copy(code)
    code.load(R2, R6, 0, 8)
    code.load(R1, R2, fields["asoc.transport_count"], 2)
    code.go_if(R1, "<=", 1, "one address")
    code.set(R1, layout.SEVERAL)
    code.set_bits(R9, layout.ENTRY_FLAGS, R1)
    code.go("unchecked")
    code.label("one address")
    code.load(R1, R2, fields["asoc.state"])
    code.go_if(R1, ">=", _ESTABLISHED, "established")
    code.go_if(R1, "!=", _CLOSED, "unchecked")
    # accept(2) also takes an association that its peer has ended. One of a one-to-many socket will begin soon.
    code.load(R1, R8, fields["sk_type"], 2)
    code.go_if(R1, "!=", _SEQPACKET, "allow")
    code.label("unchecked")
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    code.go("revoke")
    _check_chosen_peer(code, fields)
    code.label("revoke")
    code.load(R9, STACK, _MADE, 8)
    code.set(R1, layout.REVOKED)
    code.set_bits(R9, layout.ENTRY_FLAGS, R1)
    code.go("allow")
    code.label("end the caller")
    code.set(R1, _SIGKILL)
    code.call(_SEND_SIGNAL)
    code.go("allow")


def _put_flags_of_copy(code: Code) -> None:
    """Give the copy in R9 its own flags. If the entry in R7 was stopped while it was copied, stop the copy, too."""
    code.set(R1, layout.CLONED)
    code.set_bits(R9, layout.ENTRY_FLAGS, R1)
    code.set(R1, ~(layout.SEVERAL | layout.PARENT))
    code.keep_bits(R9, layout.ENTRY_FLAGS, R1)
    code.load(R1, R7, layout.ENTRY_FLAGS)
    code.mask_number(R1, layout.STOPPED)
    code.set_bits(R9, layout.ENTRY_FLAGS, R1)


def _check_chosen_peer(code: Code, fields: Fields) -> None:
    """Allow the peer of an established association, unless the owner chose it, and the limit does not cover it."""
    code.label("established")
    code.load(R1, R7, layout.ENTRY_FLAGS)
    code.mask_number(R1, layout.CHOSEN)
    code.go_if(R1, "==", 0, "allow")
    code.copy(R3, R2)
    code.add(R3, fields["asoc.primary_addr"])
    read_address(code)
    code.store_number(STACK, NUMBER, GIVEN_BYTES)
    put_given(code, fields)
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    code.go_if_covered(CONNECT, "allow")
