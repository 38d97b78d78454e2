"""Sockets of a namespace for the test itself, made without a broker: by a forked child, which sends them back."""

from __future__ import annotations

import os
import socket

from nsbroker.link import fdpass
from support.inside import enter, path_of


def open_inside(namespace: str, kind: int, port: int, family: int = socket.AF_INET) -> socket.socket:
    """Open a socket that is bound to a port of all addresses (IPv6: of both families), and listens if it is of TCP."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            try:
                enter(path_of(namespace))
                sock = socket.socket(family, kind)
                if kind == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("" if family == socket.AF_INET else "::", port))
                if kind == socket.SOCK_STREAM:
                    sock.listen()
                fdpass.lend_packet(theirs, b"x", [sock.detach()])
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        theirs.close()
        _, fds = fdpass.take_packet(ours, 1, 1)
    return socket.socket(fileno=fds[0])
