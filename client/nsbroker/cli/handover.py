"""How a server learns which descriptors it got: the environment that sd_listen_fds(3) and nginx read."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""

_ABOUT_SOCKETS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "REMOTE_ADDR", "REMOTE_PORT")
"""What our own caller may have said to us. The program has our process id, and so would believe it."""


def forget_callers_sockets() -> None:
    """Say nothing of any socket: those of --inetd are where every program looks."""
    for variable in _ABOUT_SOCKETS:
        os.environ.pop(variable, None)


def as_systemd(names: list[str]) -> list[int]:
    """Describe sockets as sd_listen_fds_with_names(3) expects; gives where they must be.

    To be called in the process that becomes the program: LISTEN_PID is its own, and exec(2) keeps it.
    """
    os.environ["LISTEN_FDS"] = str(len(names))
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
    os.environ["LISTEN_PID"] = str(os.getpid())
    return list(range(FIRST_FD, FIRST_FD + len(names)))


def as_nginx(count: int) -> list[int]:
    """Describe listeners as nginx does to the new binary when it is upgraded; gives where they must be."""
    places = list(range(FIRST_FD, FIRST_FD + count))
    os.environ["NGINX"] = "".join(f"{place};" for place in places)
    return places


def name_peer(connection: socket.socket) -> None:
    """Say who is at the other end, as systemd does: REMOTE_ADDR and, where there are ports, REMOTE_PORT."""
    try:
        peer = connection.getpeername()
    except OSError:
        return  # It has gone already.
    if isinstance(peer, tuple):
        host, port, *rest = peer
        scope_id = rest[1] if rest else 0
        # A number, since the interface's name would be looked up in the own namespace.
        os.environ["REMOTE_ADDR"] = f"{host}%{scope_id}" if scope_id else host
        os.environ["REMOTE_PORT"] = str(port)
    elif isinstance(peer, bytes) and b"\0" not in peer[1:]:
        # No variable can hold a NUL: whoever has such an abstract name is as one without.
        os.environ["REMOTE_ADDR"] = "@" + os.fsdecode(peer[1:])
    elif isinstance(peer, str) and peer:
        os.environ["REMOTE_ADDR"] = peer
