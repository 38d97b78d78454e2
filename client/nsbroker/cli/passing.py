"""`connect -F`: the connection goes to whoever started us, over standard output, and the data past us.

What ssh(1) expects of its ProxyUseFdpass: one byte and one descriptor, blocking, then the end of this process.
Source: mm_receive_fd in OpenSSH's monitor_fdpass.c, fdpass in OpenBSD's netcat.c.
"""

from __future__ import annotations

import os
import socket

from ..link.fdpass import lend_packet
from .failure import REFUSED, FailureError, usage_error

_STDOUT = 1


def taker() -> socket.SocketType:
    """Give standard output as a socket that descriptors can be passed over.

    Raises:
        FailureError: it is none.
    """
    try:
        out = socket.SocketType(fileno=os.dup(_STDOUT))
    except OSError:
        out = None
    if out is None or out.family != socket.AF_UNIX:
        text = "-F passes the connection over standard output, which is no Unix socket: it is for programs such as ssh"
        raise usage_error(f"{text}, with -o ProxyUseFdpass=yes")
    return out


def pass_on(sock: socket.socket, out: socket.SocketType) -> None:
    """Pass a connection on; the caller keeps its own copy.

    Raises:
        FailureError: nobody takes it.
    """
    # The flag goes with the descriptor.
    sock.setblocking(True)
    try:
        lend_packet(out, b"\0", [sock.fileno()])
    except OSError as error:
        text = f"can't pass the connection over standard output: {error.strerror}: does its other end still run?"
        raise FailureError(text, REFUSED) from error
