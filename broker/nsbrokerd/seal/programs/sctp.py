"""The programs of the second wall for SCTP: they see each address of an association, and the sockets that SCTP makes.

Pure.
"""

from __future__ import annotations

import socket

from .. import layout
from ..layout import BIND, CONNECT
from .assembly import R0, R1, R3, R6, R7, R8, R9, STACK
from .code import Code
from .hook import (
    BELOW_GIVEN,
    ENTRY,
    GIVEN_BYTES,
    NUMBER,
    Fields,
    find_entry,
    mark,
    put_given,
    put_number,
    read_argument,
)

# Source: include/uapi/linux/sctp.h. The peer asks for the last one (its number is in network order).
_SET_PEER_PRIMARY, _PRIMARY, _BINDX_ADD = 5, 6, 100
_CONNECTX, _SENDMSG_CONNECT = 110, 126
_PARAM_SET_PRIMARY = socket.htons(0xC004)

_SEND_SIGNAL = 109
"""A helper. Source: include/uapi/linux/bpf.h."""
_SIGKILL = 9

_OPTION = BELOW_GIVEN
"""An offset on the stack."""


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
    read_argument(code, 2, 3)
    code.load(R1, STACK, NUMBER)
    code.go_if(R1, ">", GIVEN_BYTES, "deny")
    put_given(code, fields)
    code.find_limits()
    code.load(R1, STACK, _OPTION, 8)
    code.go_if(R1, "==", _BINDX_ADD, "binds")
    code.go_if_anywhere(CONNECT, "connects")
    code.mark_unspecified()
    code.go_if_covered(CONNECT, "connects")
    code.go("deny")
    code.label("connects")
    code.load(R1, STACK, _OPTION, 8)
    for option in (_CONNECTX, _SENDMSG_CONNECT):
        code.go_if(R1, "==", option, "mark")
    code.go("allow")
    mark(code, layout.CHOSEN, "mark")
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
    code.store(STACK, ENTRY, R7, 8)
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
