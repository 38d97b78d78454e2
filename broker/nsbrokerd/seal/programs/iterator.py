"""The program that lists the sealed sockets of all namespaces, and can revoke them on the way. Pure.

The kernel runs it once for each entry of the map of sockets.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import NamedTuple

from ...policy.limit import Endpoint
from .. import layout
from .assembly import R0, R1, R2, R3, R6, R7, R8, STACK, Assembly

# Source: struct bpf_iter__bpf_sk_storage_map, struct bpf_iter_meta.
_META, _SOCK, _VALUE = 0, 16, 24
_SEQ = 0

_SOCKET_COOKIE, _SEQ_WRITE = 46, 127
"""Helpers. Source: include/uapi/linux/bpf.h."""

FIELDS = {
    "skc_family": 2, "skc_state": 1, "sk_type": 2, "sk_protocol": 2, "skc_num": 2, "skc_dport": 2,
    "skc_rcv_saddr": 4, "skc_daddr": 4, "skc_v6_rcv_saddr": 16, "skc_v6_daddr": 16,
}  # fmt: skip
"""The fields of struct sock_common (skc_) and struct sock (sk_) in the record, in its order: sizes in bytes."""

RECORD = struct.Struct("=Q QQQQII IIIII 2s2x 4s4s16s16s")
"""The program's output for one socket: the fields of a LiveSocket, but not the name of its grant."""


class LiveSocket(NamedTuple):
    """A sealed socket, with its present state. A subflow of MPTCP is a TCP socket of its own.

    Args:
        cookie: the socket's own cookie.
        grant_id: the id of its grant in the maps.
        netns: the cookie of its namespace.
        handed_out: the cookie of the socket that the broker handed out: this socket, or the listener that accepted it.
        since_ns: the time of the hand-over, in nanoseconds of the epoch.
        uid: the user that requested the socket.
        flags: the flags of its entry.
        family: as in socket(2).
        state: the number in /proc/net/tcp.
        type: as in socket(2).
        protocol: as in socket(2).
        local_port: 0 if it is not bound.
        remote_port: in network order.
        local_4: its address, if it is an IPv4 socket.
        remote_4: the address of its peer, if it is an IPv4 socket.
        local_6: its address, if it is an IPv6 socket.
        remote_6: the address of its peer, if it is an IPv6 socket.
        grant: the name of its grant.
    """

    cookie: int
    grant_id: int
    netns: int
    handed_out: int
    since_ns: int
    uid: int
    flags: int
    family: int
    state: int
    type: int
    protocol: int
    local_port: int
    remote_port: bytes
    local_4: bytes
    remote_4: bytes
    local_6: bytes
    remote_6: bytes
    grant: str = ""

    @property
    def local(self) -> Endpoint:
        """The address that the socket is bound to, with port 0 if it is not bound."""
        return self._address(self.local_4, self.local_6), self.local_port

    @property
    def remote(self) -> Endpoint:
        """The address of the socket's peer, with port 0 if it is not connected."""
        return self._address(self.remote_4, self.remote_6), int.from_bytes(self.remote_port, "big")

    @property
    def is_revoked(self) -> bool:
        """Whether the socket was revoked."""
        return bool(self.flags & layout.REVOKED)

    def _address(self, ipv4: bytes, ipv6: bytes) -> str:
        if self.family == socket.AF_INET:
            return socket.inet_ntop(socket.AF_INET, ipv4)
        return socket.inet_ntop(socket.AF_INET6, ipv6)


class Selection(NamedTuple):
    """Selects the sockets that match all given fields. Without any field it selects all sockets.

    Args:
        grant: the grant's name.
        uid: the user that requested the socket.
        netns: the cookie of its namespace.
        cookie: the socket's own cookie, or that of the listener that accepted it.
    """

    grant: str | None = None
    uid: int | None = None
    netns: int | None = None
    cookie: int | None = None


def write_iterator(
    offsets: Mapping[str, int], selection: Selection, *, revokes: bool, protocol: int | None = None
) -> bytes:
    """Return the program's instructions.

    Args:
        offsets: the offset of each field in struct sock, in bytes.
        selection: the sockets to list.
        revokes: whether to revoke them, too.
        protocol: of the sockets, as in socket(2), or None for all.
    """
    code = begin()
    code.copy(R1, R7)
    code.call(_SOCKET_COOKIE)
    code.store(STACK, -RECORD.size, R0, 8)
    _select(code, selection)
    if protocol is not None:
        code.load(R1, R7, offsets["sk_protocol"], FIELDS["sk_protocol"])
        code.go_if(R1, "!=", protocol, "end")
    for offset in range(0, layout.ENTRY.size, 8):
        code.load(R1, R8, offset, 8)
        code.store(STACK, -RECORD.size + 8 + offset, R1, 8)
    if revokes:
        # In one step: at the same moment, other programs set other flags.
        code.set(R1, layout.REVOKED)
        code.set_bits(R8, layout.ENTRY_FLAGS, R1)
    _write_fields(code, offsets)
    write_record(code, RECORD.size)
    code.label("end")
    code.end(0)
    return code.assemble()


def begin() -> Assembly:
    """Return the first instructions. Then R7 is a socket, and R8 its entry. Jump to "end" at the end of the list."""
    code = Assembly()
    code.copy(R6, R1)
    code.load(R7, R6, _SOCK, 8)
    code.go_if(R7, "==", 0, "end")
    code.load(R8, R6, _VALUE, 8)
    code.go_if(R8, "==", 0, "end")
    return code


def write_record(code: Assembly, length: int) -> None:
    """Write the uppermost bytes of the stack to the reader."""
    code.load(R1, R6, _META, 8)
    code.load(R1, R1, _SEQ, 8)
    code.copy(R2, STACK)
    code.add(R2, -length)
    code.set(R3, length)
    code.call(_SEQ_WRITE)


def _select(code: Assembly, selection: Selection) -> None:
    """Jump to "end" if the socket is not selected. R0 is its cookie."""
    if selection.cookie is not None:
        code.set_double_word(R2, selection.cookie)
        code.go_if_register(R0, "==", R2, "by cookie")
        code.load(R1, R8, layout.ENTRY_COOKIE, 8)
        code.go_if_register(R1, "!=", R2, "end")
        code.label("by cookie")
    grant = None if selection.grant is None else layout.grant_id(selection.grant)
    for wanted, offset, size in (
        (grant, layout.ENTRY_GRANT, 8),
        (selection.netns, layout.ENTRY_NETNS, 8),
        (selection.uid, layout.ENTRY_UID, 4),
    ):
        if wanted is not None:
            code.set_double_word(R2, wanted)
            code.load(R1, R8, offset, size)
            code.go_if_register(R1, "!=", R2, "end")


def _write_fields(code: Assembly, offsets: Mapping[str, int]) -> None:
    """Copy the fields to the record, each small one as one word, each address word by word."""
    place = -RECORD.size + 8 + layout.ENTRY.size
    for name, size in FIELDS.items():
        for word in range(0, size, 4):
            code.load(R1, R7, offsets[name] + word, min(4, size))
            code.store(STACK, place, R1)
            place += 4
