"""Lists the live sealed sockets and revokes them. It reads only the maps, so it works without a running broker."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import bpf, layout
from .btf import KernelTypes
from .maps import SealMaps, open_maps
from .programs.iterator import COMMON_FIELDS, OWN_FIELDS, RECORD, Record, Selection, write_iterator

_TRACING, _TRACE_ITER = 26, 28
_TARGET = "bpf_iter_bpf_sk_storage_map"
_KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")
_READ_BYTES = RECORD.size * 512

Endpoint = tuple[str, int]
"""A numeric address and a port, which is 0 if there is none."""


@dataclass(frozen=True, slots=True)
class LiveSocket:
    """A sealed socket, with its present state.

    A subflow of MPTCP is listed as a TCP socket of its own.

    Args:
        cookie: the socket's own cookie.
        handed_out: the cookie of the socket that was handed out. It differs if that one accepted this one.
        netns: the cookie of its namespace.
        grant: the name of its grant.
        uid: the user that requested it.
        since_ns: when it was handed out, in nanoseconds of the epoch.
        family: of socket(2).
        type: of socket(2).
        protocol: of socket(2).
        state: as in /proc/net/tcp.
        local: its own address.
        remote: its peer's address.
        is_revoked: whether it was revoked.
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
    """List the sealed sockets of the maps in a directory. Without maps the list is empty.

    Raises:
        OSError: the caller is not root, or this kernel can't list them.
    """
    return _visit(directory, selection or Selection(), revokes=False)


def revoke(directory: Path, selection: Selection) -> list[LiveSocket]:
    """Stop all traffic of these sockets for good. Return the sockets that were not revoked before.

    The kernel does not tell their holders. An established TCP connection hangs until it times out, or until it is
    destroyed (ss --kill).

    Raises:
        ValueError: the selection selects all sockets.
        OSError: the caller is not root, or this kernel can't do it.
    """
    if selection == Selection():
        raise ValueError("an empty selection would revoke all sockets; give it at least one field")
    stopped: dict[int, LiveSocket] = {}
    while True:
        # Repeat until a round finds no new socket: a listener can accept a connection just before it is revoked.
        found = [one for one in _visit(directory, selection, revokes=True) if not one.is_revoked]
        if not found:
            return list(stopped.values())
        stopped |= {one.cookie: one for one in found}


def grants_in_use(maps: SealMaps) -> set[int]:
    """Return the numbers of the grants that have live sockets.

    Raises:
        OSError: this kernel can't list sockets.
    """
    return {record.grant_id for record in _run(maps, Selection(), revokes=False)}


def _visit(directory: Path, selection: Selection, *, revokes: bool) -> list[LiveSocket]:
    try:
        maps = open_maps(directory)
    except FileNotFoundError:
        return []
    try:
        return _name_all(maps, _run(maps, selection, revokes=revokes))
    finally:
        maps.close()


def _run(maps: SealMaps, selection: Selection, *, revokes: bool) -> list[Record]:
    offsets, target = _look_up_types()
    code = write_iterator(offsets, selection, revokes=revokes)
    with bpf.closing(bpf.load_program("nsb_list", _TRACING, _TRACE_ITER, code, target)) as program_fd:
        iterator_fd = bpf.open_iterator(program_fd, maps.sockets)
        with open(iterator_fd, "rb", buffering=_READ_BYTES) as file:
            return list(map(Record._make, RECORD.iter_unpack(file.read())))


@cache
def _look_up_types() -> tuple[dict[str, int], int]:
    """Return the offsets of fields in this kernel's sockets, and the number of the program's target. Takes 0.1 s."""
    types = KernelTypes(_KERNEL_TYPES.read_bytes())
    offsets = types.offsets("sock_common", tuple(COMMON_FIELDS)) | types.offsets("sock", tuple(OWN_FIELDS))
    return offsets, types.function(_TARGET)


def _name_all(maps: SealMaps, records: Iterable[Record]) -> list[LiveSocket]:
    name = cache(lambda grant_id: _name(maps, grant_id))
    found: dict[int, LiveSocket] = {}
    for record in records:
        # The kernel writes a record twice if it did not fit the reader's buffer. The first one has the former flags.
        found.setdefault(record.cookie, _decode(record, name(record.grant_id)))
    return list(found.values())


def _name(maps: SealMaps, grant_id: int) -> str:
    value = bpf.lookup(maps.names, layout.encode_grant_id(grant_id), layout.NAME_BYTES)
    return f"#{grant_id:x}" if value is None else layout.decode_name(value)


def _decode(record: Record, grant: str) -> LiveSocket:
    family, local, remote = socket.AF_INET6, record.local_6, record.remote_6
    if record.family == socket.AF_INET:
        family, local, remote = socket.AF_INET, record.local_4, record.remote_4
    return LiveSocket(
        *(record.cookie, record.handed_out, record.netns, grant, record.uid, record.since_ns),
        *(record.family, record.type, record.protocol, record.state),
        (socket.inet_ntop(family, local), record.local_port),
        (socket.inet_ntop(family, remote), int.from_bytes(record.remote_port, "big")),
        bool(record.flags & layout.REVOKED),
    )
