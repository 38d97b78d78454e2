"""Lists the sockets that were sealed, and takes them back: by the maps alone, whether their broker runs or not."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import bpf, layout
from .iterator import COMMON_FIELDS, OWN_FIELDS, RECORD, Selection, write_iterator
from .maps import SealMaps, open_maps
from .vmlinux import KernelTypes

_TRACING, _TRACE_ITER = 26, 28
_TARGET = "bpf_iter_bpf_sk_storage_map"
_READ_BYTES = RECORD.size * 512

Endpoint = tuple[str, int]
"""A numeric address and a port (0: none)."""


@dataclass(frozen=True, slots=True)
class LiveSocket:
    """A sealed socket, as it is now.

    `cookie` is its own, `handed_out` that of the socket that was handed out (another one if it was accepted), `netns`
    its namespace's. `since_ns` is when that was, of the epoch. `state` is as in /proc/net/tcp. A subflow of MPTCP is
    a TCP socket of its own.
    """

    cookie: int
    handed_out: int
    netns: int
    grant: str
    uid: int
    since_ns: int
    family: int
    type: int
    protocol: int
    state: int
    local: Endpoint
    remote: Endpoint
    is_revoked: bool


def live_sockets(directory: Path, selection: Selection | None = None) -> list[LiveSocket]:
    """List the sockets whose entries are in the maps of this directory; none if there are no maps.

    Raises:
        OSError: not root, or this kernel can't.
    """
    return _visit(directory, selection or Selection(), revokes=False)


def revoke(directory: Path, selection: Selection) -> list[LiveSocket]:
    """Stop all traffic of these sockets, in and out, for good; gives those that were not revoked before.

    They notice nothing yet: established TCP connections hang until they time out, or are destroyed (ss --kill).

    Raises:
        ValueError: the selection is of all sockets.
        OSError: not root, or this kernel can't.
    """
    if selection == Selection():
        raise ValueError("select by something")
    stopped: dict[int, LiveSocket] = {}
    while True:
        # Again, until none is new: a connection may have been accepted just before its listener's turn.
        found = [one for one in _visit(directory, selection, revokes=True) if not one.is_revoked]
        if not found:
            return list(stopped.values())
        stopped |= {one.cookie: one for one in found}


def grants_in_use(maps: SealMaps) -> set[int]:
    """Give the numbers of the grants under which there are live sockets.

    Raises:
        OSError: this kernel can't tell.
    """
    return {record[1] for record in _run(maps, Selection(), revokes=False)}


def _visit(directory: Path, selection: Selection, *, revokes: bool) -> list[LiveSocket]:
    try:
        maps = open_maps(directory)
    except FileNotFoundError:
        return []
    try:
        return _name_all(maps, _run(maps, selection, revokes=revokes))
    finally:
        maps.close()


def _run(maps: SealMaps, selection: Selection, *, revokes: bool) -> list[tuple[Any, ...]]:
    offsets, target = _look_up_types()
    code = write_iterator(offsets, selection, revokes=revokes)
    program_fd = bpf.load_program("nsb_list", _TRACING, _TRACE_ITER, code, target)
    try:
        with open(bpf.open_iterator(program_fd, maps.sockets), "rb", buffering=_READ_BYTES) as file:
            return list(RECORD.iter_unpack(file.read()))
    finally:
        os.close(program_fd)


@cache
def _look_up_types() -> tuple[dict[str, int], int]:
    """Find where this kernel's sockets have their fields, and what the program is for. It takes a while."""
    types = KernelTypes()
    offsets = types.offsets("sock_common", tuple(COMMON_FIELDS)) | types.offsets("sock", tuple(OWN_FIELDS))
    return offsets, types.function(_TARGET)


def _name_all(maps: SealMaps, records: Sequence[tuple[Any, ...]]) -> list[LiveSocket]:
    names: dict[int, str] = {}
    found: dict[int, LiveSocket] = {}
    for record in records:
        grant_id = record[1]
        if grant_id not in names:
            names[grant_id] = _name(maps, grant_id)
        # What filled the reader's buffer is written twice; the first time tells whether it was revoked before.
        found.setdefault(record[0], _decode(record, names[grant_id]))
    return list(found.values())


def _name(maps: SealMaps, grant_id: int) -> str:
    value = bpf.lookup(maps.names, layout.encode_grant_id(grant_id), layout.NAME_BYTES)
    return f"#{grant_id:x}" if value is None else layout.decode_name(value)


def _decode(record: tuple[Any, ...], grant: str) -> LiveSocket:
    cookie, _, netns, handed_out, since_ns, uid, flags, family, state, socket_type, protocol, *ends = record
    local_port, remote_port, local_4, remote_4, local_6, remote_6 = ends
    if family == socket.AF_INET:
        local, remote = socket.inet_ntop(family, local_4), socket.inet_ntop(family, remote_4)
    else:
        local, remote = socket.inet_ntop(socket.AF_INET6, local_6), socket.inet_ntop(socket.AF_INET6, remote_6)
    return LiveSocket(
        *(cookie, handed_out, netns, grant, uid, since_ns, family, socket_type, protocol, state),
        (local, local_port),
        (remote, int.from_bytes(remote_port, "big")),
        bool(flags & layout.REVOKED),
    )
