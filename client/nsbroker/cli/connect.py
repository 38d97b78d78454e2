"""`NS connect HOST PORT`: one connection, with standard input and output at its ends."""

from __future__ import annotations

import socket

from ..numeric import numeric_address
from ..wire.messages import SocketSpec
from .command import Command
from .endpoint import family_option, host_family, port_number
from .failure import REFUSED, FailureError, usage_error
from .options import parse, seconds
from .relay import relay

_OPTIONS = {"-u": False, "-4": False, "-6": False, "-w": True, "-s": True}


def run(command: Command) -> int:
    """Connect, then pass on bytes until both ends are done."""
    options, rest = parse(command.args, _OPTIONS, anywhere=True)
    given = dict(options)
    if len(rest) != 2:
        raise usage_error("connect takes HOST and PORT")
    host, port = rest[0].strip("[]"), port_number(rest[1])
    limit_s = seconds("-w", given["-w"]) if "-w" in given else None
    family = host_family(host, family_option(options))
    kind = int(socket.SOCK_DGRAM if "-u" in given else socket.SOCK_STREAM)
    (sock,) = command.client.open([SocketSpec(command.namespace, family, kind)], command.wait_s)
    with sock:
        _bind(sock, given.get("-s"))
        _connect(sock, host, port, limit_s)
        return relay(sock, limit_s, datagrams="-u" in given)


def _bind(sock: socket.socket, source: str | None) -> None:
    if source is None:
        return
    try:
        sock.bind(numeric_address(sock, (source.strip("[]"), 0)))
    except OSError as error:
        raise FailureError(f"can't connect from {source}: {error.strerror}", REFUSED) from error


def _connect(sock: socket.socket, host: str, port: int, limit_s: float | None) -> None:
    # -w 0 means at once, and for the socket module 0 is something else.
    sock.settimeout(max(limit_s, 1e-3) if limit_s is not None else None)
    try:
        sock.connect(numeric_address(sock, (host, port)))
    except OSError as error:
        text = f"can't connect to {host} port {port}: {error.strerror or error}"
        raise FailureError(text, REFUSED) from error
