"""Revokes live sealed sockets. It needs only the pins, so it works without a running broker.

The programs for each packet of the host stand before a socket that needs them is revoked. So a revoked socket never
gets past the second wall.
"""

from __future__ import annotations

import contextlib
from contextlib import closing
from pathlib import Path

from .aborting import abort_associations
from .live import identity, visit
from .maps import open_maps
from .needed import FOR_EACH_PACKET, escapes_first_wall, open_associations
from .programs.iterator import LiveSocket, Selection
from .wall import missing_hooks, on_standby, standing_hooks


def revoke(directory: Path, selection: Selection) -> list[LiveSocket]:
    """Stop all traffic of these sockets for good. Return the sockets that were not revoked before.

    The kernel does not tell the processes that hold them. An established TCP connection hangs until it times out, or
    until a caller ends it (see `sockets.sock_diag`). Then call `abort_stopped`. If the kernel refuses a program, see
    `why_not_stopped`.

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
            if any(map(escapes_first_wall, found)):
                kept |= FOR_EACH_PACKET
            new = [one for one in found if not one.is_revoked]
            if not new:
                break
            stopped |= {identity(one): one for one in new}
    return list(stopped.values())


def abort_stopped(directory: Path) -> None:
    """Abort the associations of revoked sockets that the first wall does not see, so that nothing queued is sent.

    This takes some seconds at most. `why_not_stopped` says what is left.
    """
    with contextlib.suppress(OSError), closing(open_maps(directory)) as maps:
        abort_associations(maps)


def why_not_stopped(directory: Path) -> str | None:
    """Return why stopped sockets can still communicate, or why data that they had queued may still be sent.

    None means that neither is possible, or that this host has only the first wall.

    Raises:
        OSError: the caller is not root, or there are no maps.
    """
    if not (standing := standing_hooks(directory)):
        return None
    if missing := missing_hooks(directory, ()) & FOR_EACH_PACKET:
        return (
            f"the second wall lacks {', '.join(sorted(missing))}: accepted sockets of sctp still communicate: "
            "revoke again, or end the processes that hold them, and see nsbrokerd check"
        )
    if not standing & FOR_EACH_PACKET:
        return None
    with closing(open_maps(directory)) as maps:
        try:
            number = len(open_associations(maps))
        except OSError as error:
            return f"the associations of sctp can't be listed ({error.strerror}): end the processes that hold them"
    if not number:
        return None
    return (
        f"associations of sctp can't be aborted ({number}), so the kernel still sends what their sockets had queued: "
        "end the processes that hold these sockets"
    )
