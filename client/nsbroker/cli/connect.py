"""The verb `NS connect HOST PORT`: makes one connection, and relays it to standard input and output.

With -F it passes the connection itself to its caller over standard output, so that the data goes past this process.
ssh(1) expects this of a ProxyUseFdpass command: one byte with one blocking descriptor, then the end of the process.
Source: mm_receive_fd in OpenSSH's monitor_fdpass.c, fdpass in OpenBSD's netcat.c.
"""

from __future__ import annotations

import os
import socket
from math import inf

from ..link.errors import Error
from ..link.fdpass import lend_packet
from .arguments import OPTIONS_AT_BIRTH, at_birth, family_option, parse, port_number, seconds
from .command import Command
from .dialing import Target, dial, is_numeric
from .messages import REFUSED, FailureError, usage_error

_OPTIONS = {"-u": False, "-F": False, "-4": False, "-6": False, "-w": True, "-s": True, **OPTIONS_AT_BIRTH}
_STDOUT = 1


def run(command: Command) -> int:
    """Connect, then relay bytes until both directions are done, or with -F pass the connection on."""
    options, rest = parse(command.args, _OPTIONS, anywhere=True)
    given = dict(options)
    limit_s = seconds("-w", given["-w"]) if "-w" in given else None
    target = _target(options, rest, limit_s)
    if "-F" in given:
        with _taker() as out, _dial(command, target) as sock:
            _pass_on(sock, out)
        return 0
    with _dial(command, target) as sock:
        from .relay import relay  # Loaded while the server prepares its answer.

        return relay(sock, limit_s, datagrams=target.is_udp)


def _target(options: list[tuple[str, str]], rest: list[str], limit_s: float | None) -> Target:
    if len(rest) != 2:
        raise usage_error("connect takes HOST and PORT")
    (host, port), given = rest, dict(options)
    host, source = host.strip("[]"), given["-s"].strip("[]") if "-s" in given else None
    if not host:
        raise usage_error("connect takes a HOST that is not empty")
    if source is not None and not (source and is_numeric(source)):
        raise usage_error(f"-s takes an address of the namespace, not {source!r}")
    is_udp = "-u" in given
    family, number = family_option(options) or 0, _port(port, is_udp=is_udp)
    limit_s = inf if limit_s is None else limit_s
    return Target(host, number, family, source, is_udp, limit_s, at_birth(options))


def _port(text: str, *, is_udp: bool) -> int:
    if text[:1].isalpha():
        try:
            return socket.getservbyname(text, "udp" if is_udp else "tcp")
        except OSError as error:
            raise usage_error(f"{text!r} is neither a port number nor a service of /etc/services") from error
    return port_number(text)


def _dial(command: Command, target: Target) -> socket.socket:
    try:
        return dial(command, target)
    except Error:
        raise
    except (OSError, ExceptionGroup) as error:
        from .advice import connect_failure

        raise connect_failure(command.namespace, target, error) from error


def _taker() -> socket.socket:
    try:
        out = socket.socket(fileno=os.dup(_STDOUT))
    except OSError:
        out = None
    if out is None or out.family != socket.AF_UNIX:
        text = "-F passes the connection over standard output, which is no Unix socket: it is for programs such as ssh"
        raise usage_error(f"{text}, with -o ProxyUseFdpass=yes")
    return out


def _pass_on(sock: socket.socket, out: socket.socket) -> None:
    # The flag O_NONBLOCK goes with the descriptor.
    sock.setblocking(True)
    try:
        lend_packet(out, b"\0", [sock.fileno()])
    except OSError as error:
        text = f"can't pass the connection over standard output: {error.strerror}: does its other end still run?"
        raise FailureError(text, REFUSED) from error
