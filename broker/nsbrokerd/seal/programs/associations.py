"""The program that lists the associations by which stopped SCTP sockets could still communicate. Pure.

The first wall stops a socket that is cut off or revoked, unless SCTP made it for accept(2) or `peeloff`. So the list
has the associations of such sockets. It also has those of their parents, of which SCTP can still make others: a call of
`accept` or `peeloff` can go on after its socket was stopped.

It reads lists that the kernel may be changing. Then a record can contain nonsense. Source: include/net/sctp/structs.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import NamedTuple

from .. import layout
from .assembly import R0, R1, R2, R3, R7, R8, R9, STACK, Assembly
from .hook import PROBE_READ_KERNEL
from .iterator import begin, write_record

_SEQPACKET, _SCTP = int(socket.SOCK_SEQPACKET), int(socket.IPPROTO_SCTP)
_LISTEN = 10
"""The state of a socket. Source: include/net/tcp_states.h."""
_CLOSED = 0
"""The state of an association. Source: enum sctp_state in include/net/sctp/constants.h."""
_LOCKED = 255
"""In place of a state."""

_MOST = 128
"""Associations of one socket in one list. More would make the program too long for the kernel's check. The list says if
there are more. These come when the first ones have ended."""

_ADDRESS_BYTES = 28
_RECORD = struct.Struct(f"=QIIH2xI{_ADDRESS_BYTES}s{_ADDRESS_BYTES}s")
_NETNS, _TAG, _STATE, _PORT, _DEVICE, _PEER, _OWN = (offset - _RECORD.size for offset in (0, 8, 12, 16, 20, 24, 52))
_HEAD, _NEXT, _PATH = (-_RECORD.size - 8 * number for number in (1, 2, 3))


class Association(NamedTuple):
    """An association, as the kernel has it.

    Args:
        netns: the cookie of its namespace.
        tag: the verification tag that the peer must send. 0 if there can be other associations: the list could not be
            read to its end, or the socket is locked (see `is_locked`).
        state: the number of enum sctp_state.
        port: its own port.
        device: the index of the device that the socket is bound to, or 0.
        peer: the peer's primary address, as a struct sockaddr_in or sockaddr_in6.
        own: the address from which packets to the peer's primary address leave.
    """

    netns: int
    tag: int
    state: int
    port: int
    device: int
    peer: bytes
    own: bytes

    @property
    def is_locked(self) -> bool:
        """Whether this is no association, but says that a process holds the socket's lock.

        Calls and packets may then wait that were checked before the socket was stopped.
        """
        return self.state == _LOCKED


def read_associations(data: bytes) -> set[Association]:
    """Return what the program has written. It can write a record twice."""
    return {Association(*record) for record in _RECORD.iter_unpack(data)}


def write_associations(fields: Mapping[str, int]) -> bytes:
    """Return the program's instructions.

    Args:
        fields: offsets of fields in this kernel's structs.
    """
    code = begin()
    for offset in range(-_RECORD.size, 0, 8):
        code.store_number(STACK, offset, 0, 8)
    code.load(R1, R8, layout.ENTRY_NETNS, 8)
    code.store(STACK, _NETNS, R1, 8)
    code.load(R1, R7, fields["skc_bound_dev_if"])
    code.store(STACK, _DEVICE, R1)
    _select(code, fields)
    code.copy(R3, R7)
    code.add(R3, fields["sctp_sock.ep"])
    _read(code, _HEAD, 8)
    code.load(R3, STACK, _HEAD, 8)
    code.add(R3, fields["sctp_endpoint.asocs"])
    code.store(STACK, _HEAD, R3, 8)
    _read(code, _NEXT, 8)
    code.set(R8, 0)
    code.label("next association")
    code.load(R9, STACK, _NEXT, 8)
    code.load(R1, STACK, _HEAD, 8)
    code.go_if_register(R9, "==", R1, "end")
    code.go_if(R8, ">=", _MOST, "unknown")
    code.add(R8, 1)
    code.add(R9, -fields["asoc.asocs"])
    _read_field(code, fields["asoc.state"], _STATE, 4)
    # accept(2) also takes an association that has ended. One of a one-to-many socket will begin soon.
    code.load(R1, R7, fields["sk_type"], 2)
    code.go_if(R1, "==", _SEQPACKET, "can communicate")
    code.load(R1, STACK, _STATE)
    code.go_if(R1, "==", _CLOSED, "is noted")
    code.label("can communicate")
    _read_field(code, fields["asoc.my_vtag"], _TAG, 4)
    _read_field(code, fields["asoc.port"], _PORT, 2)
    _read_field(code, fields["asoc.primary_addr"], _PEER, _ADDRESS_BYTES)
    _read_field(code, fields["asoc.primary_path"], _PATH, 8)
    code.load(R3, STACK, _PATH, 8)
    code.add(R3, fields["sctp_transport.saddr"])
    _read(code, _OWN, _ADDRESS_BYTES)
    write_record(code, _RECORD.size)
    code.label("is noted")
    _read_field(code, fields["asoc.asocs"], _NEXT, 8)
    code.go("next association")
    code.label("unknown")
    code.store_number(STACK, _TAG, 0)
    write_record(code, _RECORD.size)
    code.label("end")
    code.end(0)
    return code.assemble()


def _select(code: Assembly, fields: Mapping[str, int]) -> None:
    """Go on if the socket is stopped, and SCTP made it, or can make others of it. Otherwise jump to "end"."""
    code.load(R1, R7, fields["sk_protocol"], 2)
    code.go_if(R1, "!=", _SCTP, "end")
    code.load(R1, R8, layout.ENTRY_FLAGS)
    code.copy(R2, R1)
    code.mask_number(R2, layout.STOPPED)
    code.go_if(R2, "==", 0, "end")
    code.copy(R2, R1)
    code.mask_number(R2, layout.CLONED)
    code.go_if(R2, "!=", 0, "selected")
    code.mask_number(R1, layout.PARENT)
    code.go_if(R1, "!=", 0, "makes others")
    # An older broker's listener lacks the flag.
    code.load(R1, R7, fields["sk_type"], 2)
    code.go_if(R1, "==", _SEQPACKET, "end")
    code.load(R1, R7, fields["skc_state"], 1)
    code.go_if(R1, "!=", _LISTEN, "end")
    code.label("makes others")
    code.load(R1, R7, fields["sk_lock.owned"])
    code.go_if(R1, "==", 0, "selected")
    code.store_number(STACK, _STATE, _LOCKED)
    write_record(code, _RECORD.size)
    code.store_number(STACK, _STATE, 0)
    code.label("selected")


def _read_field(code: Assembly, field: int, to: int, length: int) -> None:
    """Copy a field of the association in R9 to the stack."""
    code.copy(R3, R9)
    code.add(R3, field)
    _read(code, to, length)


def _read(code: Assembly, to: int, length: int) -> None:
    """Copy bytes that R3 points to. If they can't be read, jump to "unknown"."""
    code.copy(R1, STACK)
    code.add(R1, to)
    code.set(R2, length)
    code.call(PROBE_READ_KERNEL)
    code.go_if(R0, "!=", 0, "unknown")
