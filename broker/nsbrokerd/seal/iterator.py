"""The program that lists sealed sockets, in all namespaces, bound or not; and revokes them on the way. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from . import layout
from .assembly import R0, R1, R2, R3, R6, R7, R8, STACK, Assembly
from .fragments import SEQ_WRITE, SOCKET_COOKIE

# Source: struct bpf_iter__bpf_sk_storage_map, struct bpf_iter_meta.
_META, _SOCK, _VALUE = 0, 16, 24
_SEQ = 0

COMMON_FIELDS = {
    "skc_family": 2,
    "skc_state": 1,
    "skc_num": 2,
    "skc_dport": 2,
    "skc_rcv_saddr": 4,
    "skc_daddr": 4,
    "skc_v6_rcv_saddr": 16,
    "skc_v6_daddr": 16,
}
"""Of struct sock_common, with their sizes in bytes."""
OWN_FIELDS = {"sk_type": 2, "sk_protocol": 2}
"""Of struct sock."""

RECORD = struct.Struct("=Q QQQQII IIIII 2s2x 4s4s16s16s")
"""What is written for each socket: its cookie; its entry; family, state, type, protocol, both ports and addresses
(those of IPv4, then those of IPv6)."""

_ORDER = ("skc_family", "skc_state", "sk_type", "sk_protocol", "skc_num", "skc_dport", *list(COMMON_FIELDS)[4:])


class Selection(NamedTuple):
    """Which sockets are meant: those for which all that is given here is so.

    Args:
        grant: the grant's name.
        uid: who asked for the socket.
        netns: its namespace's cookie.
        cookie: its own; or that of the listener that accepted it.
    """

    grant: str | None = None
    uid: int | None = None
    netns: int | None = None
    cookie: int | None = None


def write_iterator(offsets: Mapping[str, int], selection: Selection, *, revokes: bool) -> bytes:
    """Make the program.

    Args:
        offsets: of each field in struct sock.
        selection: which sockets it is about.
        revokes: whether to revoke them.
    """
    code = Assembly()
    code.copy(R6, R1)
    code.load(R7, R6, _SOCK, 8)
    code.go_if(R7, "==", 0, "end")
    code.load(R8, R6, _VALUE, 8)
    code.go_if(R8, "==", 0, "end")
    code.copy(R1, R7)
    code.call(SOCKET_COOKIE)
    code.store(STACK, -RECORD.size, R0, 8)
    _select(code, selection)
    for offset in range(0, layout.ENTRY.size, 8):
        code.load(R1, R8, offset, 8)
        code.store(STACK, -RECORD.size + 8 + offset, R1, 8)
    if revokes:
        code.load(R1, R8, layout.ENTRY_FLAGS)
        code.merge_number(R1, layout.REVOKED)
        code.store(R8, layout.ENTRY_FLAGS, R1)
    _write_fields(code, offsets)
    code.load(R1, R6, _META, 8)
    code.load(R1, R1, _SEQ, 8)
    code.copy(R2, STACK)
    code.add(R2, -RECORD.size)
    code.set(R3, RECORD.size)
    code.call(SEQ_WRITE)
    code.label("end")
    code.give(0)
    return code.assemble()


def _select(code: Assembly, selection: Selection) -> None:
    """Go to "end" unless the socket is meant; its cookie is in R0."""
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
    """Copy the fields to the record: small ones as words, addresses word by word."""
    sizes = COMMON_FIELDS | OWN_FIELDS
    place = -RECORD.size + 8 + layout.ENTRY.size
    for name in _ORDER:
        for word in range(0, sizes[name], 4):
            code.load(R1, R7, offsets[name] + word, min(4, sizes[name]))
            code.store(STACK, place, R1)
            place += 4
