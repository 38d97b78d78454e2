"""Lists the live sealed sockets and revokes them. It reads only the maps, so it works without a running broker."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import cache
from pathlib import Path

from . import bpf, layout
from .btf import KernelTypes
from .maps import SealMaps, open_maps
from .programs.iterator import FIELDS, RECORD, LiveSocket, Selection, write_iterator

_TRACING, _TRACE_ITER = 26, 28
_TARGET = "bpf_iter_bpf_sk_storage_map"
_KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")
_READ_BYTES = RECORD.size * 512


def live_sockets(directory: Path, selection: Selection | None = None) -> list[LiveSocket]:
    """List the sealed sockets of the maps in a directory. Without maps the list is empty.

    Raises:
        OSError: the caller is not root, or this kernel can't list them.
    """
    return _visit(directory, selection or Selection(), revokes=False)


def revoke(directory: Path, selection: Selection) -> list[LiveSocket]:
    """Stop all traffic of these sockets for good. Return the sockets that were not revoked before.

    The kernel does not tell the processes that hold them. An established TCP connection hangs until it times out, or
    until a caller ends it (see `sockets.sock_diag`).

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
    """Return the ids of the grants that have live sockets.

    Raises:
        OSError: this kernel can't list sockets.
    """
    return {one.grant_id for one in _run(maps, Selection(), revokes=False)}


def _visit(directory: Path, selection: Selection, *, revokes: bool) -> list[LiveSocket]:
    try:
        maps = open_maps(directory)
    except FileNotFoundError:
        return []
    with closing(maps):
        return _name_all(maps, _run(maps, selection, revokes=revokes))


def _run(maps: SealMaps, selection: Selection, *, revokes: bool) -> list[LiveSocket]:
    offsets, target = _look_up_types()
    code = write_iterator(offsets, selection, revokes=revokes)
    with bpf.closing(bpf.load_program("nsb_list", _TRACING, _TRACE_ITER, code, target)) as program_fd:
        iterator_fd = bpf.open_iterator(program_fd, maps.sockets)
        with open(iterator_fd, "rb", buffering=_READ_BYTES) as file:
            return [LiveSocket(*record) for record in RECORD.iter_unpack(file.read())]


@cache
def _look_up_types() -> tuple[dict[str, int], int]:
    """Return the offsets of fields in this kernel's sockets, and the number of the program's target. Takes 0.1 s."""
    types = KernelTypes(_KERNEL_TYPES.read_bytes())
    common = [name for name in FIELDS if name.startswith("skc_")]
    own = [name for name in FIELDS if name.startswith("sk_")]
    return types.offsets("sock_common", common) | types.offsets("sock", own), types.function(_TARGET)


def _name_all(maps: SealMaps, sockets: Iterable[LiveSocket]) -> list[LiveSocket]:
    @cache
    def name(grant_id: int) -> str:
        value = bpf.lookup(maps.names, layout.encode_grant_id(grant_id), layout.NAME_BYTES)
        return f"#{grant_id:x}" if value is None else layout.decode_name(value)

    found: dict[int, LiveSocket] = {}
    for one in sockets:
        # The kernel writes a record twice if it did not fit the reader's buffer. The first one has the former flags.
        found.setdefault(one.cookie, one._replace(grant=name(one.grant_id)))
    return list(found.values())
