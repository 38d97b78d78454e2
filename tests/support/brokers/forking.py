"""Listeners the way it is done without a broker: as root, a process in each namespace for each socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from nsbroker.link import fdpass
from support.inside import enter, path_of

# For `ip netns exec`: the smallest Python program that makes a listener and sends it back.
_PROGRAM = """
import array, socket, sys
sock = socket.create_server(("0.0.0.0", int(sys.argv[2])))
back = socket.socket(fileno=int(sys.argv[1]))
back.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))])
"""


def listen_by_ip_netns_exec(name: str, port: int) -> socket.socket:
    """Have `ip netns exec` run a program that listens and sends the socket back."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        python = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(theirs.fileno()), str(port)]
        subprocess.run(["ip", "netns", "exec", name, *python], pass_fds=[theirs.fileno()], check=True)
        return _take(ours)


def listen_by_fork(name: str, port: int) -> socket.socket:
    """Fork, enter the namespace in the child, listen, and send the socket back: without starting a program."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            try:
                enter(path_of(name))
                fdpass.lend_packet(theirs, b"x", [socket.create_server(("0.0.0.0", port)).detach()])
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        theirs.close()
        return _take(ours)


def _take(connection: socket.socket) -> socket.socket:
    _, fds = fdpass.take_packet(connection, 1, 1)
    return socket.socket(fileno=fds[0])
