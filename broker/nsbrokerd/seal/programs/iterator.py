"""The program that lists the sealed sockets of all namespaces, and can revoke them on the way. Pure.

The kernel runs it once for each entry of the map of sockets.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from .. import layout
from .assembly import R0, R1, R2, R3, R6, R7, R8, STACK, Assembly

# Source: struct bpf_iter__bpf_sk_storage_map, struct bpf_iter_meta.
_META, _SOCK, _VALUE = 0, 16, 24
_SEQ = 0

_SOCKET_COOKIE, _SEQ_WRITE = 46, 127
"""Helpers. Source: include/uapi/linux/bpf.h."""

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
"""Fields of struct sock_common, with their sizes in bytes."""
OWN_FIELDS = {"sk_type": 2, "sk_protocol": 2}
"""Fields of struct sock."""

RECORD = struct.Struct("=Q QQQQII IIIII 2s2x 4s4s16s16s")
"""The bytes of a Record."""

_ORDER = ("skc_family", "skc_state", "sk_type", "sk_protocol", "skc_num", "skc_dport", *list(COMMON_FIELDS)[4:])


class Record(NamedTuple):
    """The program's output for one socket: its cookie, its entry, and its state. `remote_port` is in network order."""

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


def write_iterator(offsets: Mapping[str, int], selection: Selection, *, revokes: bool) -> bytes:
    """Return the program's instructions.

    Args:
        offsets: of each field in struct sock.
        selection: the sockets to list.
        revokes: whether to revoke them, too.
    """
    code = Assembly()
    code.copy(R6, R1)
    code.load(R7, R6, _SOCK, 8)
    code.go_if(R7, "==", 0, "end")
    code.load(R8, R6, _VALUE, 8)
    code.go_if(R8, "==", 0, "end")
    code.copy(R1, R7)
    code.call(_SOCKET_COOKIE)
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
    code.call(_SEQ_WRITE)
    code.label("end")
    code.end(0)
    return code.assemble()


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
    sizes = COMMON_FIELDS | OWN_FIELDS
    place = -RECORD.size + 8 + layout.ENTRY.size
    for name in _ORDER:
        for word in range(0, sizes[name], 4):
            code.load(R1, R7, offsets[name] + word, min(4, sizes[name]))
            code.store(STACK, place, R1)
            place += 4
