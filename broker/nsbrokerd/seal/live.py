"""Lists the live sealed sockets, and the associations of stopped ones.

It reads only the maps, so it works without a running broker.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import BinaryIO

from . import bpf, layout
from .kernel import kernel_layout
from .maps import SealMaps, open_maps
from .programs.associations import Association, read_associations, write_associations
from .programs.iterator import RECORD, LiveSocket, Selection, write_iterator
from .programs.sweep import write_sweep

_TRACING, _TRACE_ITER = 26, 28
_RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")
"""The shortest program: r0 = 0; exit."""

_READ_BYTES = RECORD.size * 512


def why_not_listed() -> str | None:
    """Return why this kernel can't list sealed sockets, or None if it can.

    Some kernels take the programs of the first wall, and no program that looks at the kernel's own objects. Only root
    can find this out: for others, this is None.

    Raises:
        OSError: the kernel does not describe itself, or a later try can succeed, for example if memory is short now.
    """
    return _why_not_loaded() if os.geteuid() == 0 else None


@cache
def _why_not_loaded() -> str | None:
    number = kernel_layout().iterator
    try:
        os.close(bpf.load_program("nsb_try", _TRACING, _TRACE_ITER, _RETURN_0, number))
    except OSError as error:
        if bpf.is_passing(error):
            raise  # so that the cache does not keep it
        return str(error.strerror or error)
    return None


def live_sockets(directory: Path, selection: Selection | None = None) -> list[LiveSocket]:
    """List the sealed sockets of the maps in a directory. Without maps the list is empty.

    Raises:
        OSError: the caller is not root, or this kernel can't list them.
    """
    try:
        maps = open_maps(directory)
    except FileNotFoundError:
        return []
    with closing(maps):
        return visit(maps, selection or Selection(), revokes=False)


def grants_in_use(maps: SealMaps) -> set[int]:
    """Return the ids of the grants that have live sockets.

    Raises:
        OSError: this kernel can't list sockets.
    """
    return {one.grant_id for one in all_live(maps)}


def all_live(maps: SealMaps, protocol: int | None = None) -> list[LiveSocket]:
    """List the sealed sockets of these maps, or those of a protocol, without the names of their grants.

    Raises:
        OSError: this kernel can't list sockets.
    """
    return _run(maps, Selection(), revokes=False, protocol=protocol)


def sweep(maps: SealMaps) -> None:
    """Cut off each socket in use that the limits in force do not cover, and no longer the others.

    Raises:
        OSError: this kernel can't list sockets.
    """
    kernel = kernel_layout()
    code = write_sweep(maps.sockets, maps.limits, kernel.fields)
    with bpf.closing(bpf.load_program("nsb_sweep", _TRACING, _TRACE_ITER, code, kernel.iterator)) as program_fd:
        # Twice: a listener can accept a connection just before the first round finds it.
        for _ in range(2):
            with open(bpf.open_iterator(program_fd, maps.sockets), "rb", buffering=0) as file:
                while _read_nothing(file):
                    pass


def visit(maps: SealMaps, selection: Selection, *, revokes: bool) -> list[LiveSocket]:
    """List the selected sockets of these maps, with the flags that they had before. Revoke them on the way, if asked.

    Raises:
        OSError: the caller is not root, or this kernel can't do it.
    """
    return _name_all(maps, _run(maps, selection, revokes=revokes))


def _run(maps: SealMaps, selection: Selection, *, revokes: bool, protocol: int | None = None) -> list[LiveSocket]:
    code = write_iterator(kernel_layout().fields, selection, revokes=revokes, protocol=protocol)
    return [LiveSocket(*record) for record in RECORD.iter_unpack(_run_iterator(maps, "nsb_list", code))]


def _run_iterator(maps: SealMaps, name: str, code: bytes) -> bytes:
    """Run a program for each entry, and return all that it has written."""
    number = kernel_layout().iterator
    with (
        bpf.closing(bpf.load_program(name[:15], _TRACING, _TRACE_ITER, code, number)) as program_fd,
        open(bpf.open_iterator(program_fd, maps.sockets), "rb", buffering=_READ_BYTES) as file,
    ):
        return file.read()


def list_associations(maps: SealMaps) -> set[Association]:
    """List the associations by which stopped SCTP sockets could still communicate past the first wall.

    Raises:
        OSError: the caller is not root, or this kernel can't list them.
    """
    kernel = kernel_layout()
    try:
        code = write_associations(kernel.fields)
    except KeyError as error:
        raise OSError(errno.ENOSYS, f"this kernel does not describe {error.args[0]}: use a newer kernel") from error
    return read_associations(_run_iterator(maps, "nsb_associations", code))


def _read_nothing(file: BinaryIO) -> bool:
    """Read from an iterator whose program writes nothing. Return whether it has not reached the end."""
    try:
        return file.read(1) != b""
    except BlockingIOError:
        return True  # it stops after a million sockets


def _name_all(maps: SealMaps, sockets: Iterable[LiveSocket]) -> list[LiveSocket]:
    @cache
    def name(grant_id: int) -> str:
        value = bpf.lookup(maps.names, layout.encode_grant_id(grant_id), layout.NAME_BYTES)
        return f"#{grant_id:x}" if value is None else layout.decode_name(value)

    found: dict[LiveSocket, LiveSocket] = {}
    for one in sockets:
        # The kernel writes a record twice if it did not fit the reader's buffer. The first one has the former flags.
        found.setdefault(identity(one), one._replace(grant=name(one.grant_id)))
    return list(found.values())


def identity(one: LiveSocket) -> LiveSocket:
    """Return all that tells a socket from others. On Linux 7.2, a socket that SCTP makes has its listener's cookie."""
    return one._replace(flags=0, grant="")
