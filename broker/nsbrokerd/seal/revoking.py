"""Revokes live sealed sockets. It needs only the pins, so it works without a running broker.

The programs for each packet of the host stand before a socket that needs them is revoked. So a revoked socket never
gets past the second wall.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from .live import identity, visit
from .maps import open_maps
from .programs.iterator import LiveSocket, Selection
from .wall import FOR_EACH_PACKET, missing_hooks, on_standby, packet_hooks_for, standing_hooks


def revoke(directory: Path, selection: Selection) -> list[LiveSocket]:
    """Stop all traffic of these sockets for good. Return the sockets that were not revoked before.

    The kernel does not tell the processes that hold them. An established TCP connection hangs until it times out, or
    until a caller ends it (see `sockets.sock_diag`). If the kernel refuses a program, see `why_not_stopped`.

    Raises:
        ValueError: the selection selects all sockets.
        OSError: the caller is not root, or this kernel can't do it.
    """
    if selection == Selection():
        raise ValueError("an empty selection would revoke all sockets; give it at least one field")
    try:
        maps = open_maps(directory)
    except FileNotFoundError:
        return []
    stopped: dict[LiveSocket, LiveSocket] = {}
    with closing(maps), on_standby(directory, maps) as kept:
        while True:
            # Repeat until a round finds no new socket: a listener can accept a connection just before it is revoked.
            found = visit(maps, selection, revokes=True)
            for one in found:
                kept |= packet_hooks_for(one, limits_connecting=None)
            new = [one for one in found if not one.is_revoked]
            if not new:
                return list(stopped.values())
            stopped |= {identity(one): one for one in new}


def why_not_stopped(directory: Path) -> str | None:
    """Return why revoked sockets can still communicate, on a host that has both walls. None means that they can't.

    Raises:
        OSError: the caller is not root, or there are no maps.
    """
    if not standing_hooks(directory) or not (missing := missing_hooks(directory, ()) & FOR_EACH_PACKET):
        return None
    return (
        f"the second wall lacks {', '.join(sorted(missing))}: accepted sockets of sctp still communicate: "
        "end the processes that hold them, and see nsbrokerd check"
    )
