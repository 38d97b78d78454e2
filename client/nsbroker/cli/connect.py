"""`NS connect HOST PORT`: one connection, with standard input and output at its ends, or passed on."""

from __future__ import annotations

import socket
from math import inf

from ..link.errors import Error
from .command import Command
from .dialing import Target, dial, is_numeric
from .endpoint import family_option, port_number
from .failure import usage_error
from .options import parse, seconds

_OPTIONS = {"-u": False, "-F": False, "-4": False, "-6": False, "-w": True, "-s": True}


def run(command: Command) -> int:
    """Connect, then pass on bytes until both ends are done; with -F pass on the connection itself."""
    options, rest = parse(command.args, _OPTIONS, anywhere=True)
    given = dict(options)
    limit_s = seconds("-w", given["-w"]) if "-w" in given else None
    target = _target(options, rest, limit_s)
    if "-F" in given:
        from .passing import pass_on, taker

        out = taker()
        with _dial(command, target) as sock:
            pass_on(sock, out)
        return 0
    with _dial(command, target) as sock:
        from .relay import relay  # Loaded while the server prepares its answer.

        return relay(sock, limit_s, datagrams=target.is_udp)


def _target(options: list[tuple[str, str]], rest: list[str], limit_s: float | None) -> Target:
    if len(rest) != 2:
        raise usage_error("connect takes HOST and PORT")
    given = dict(options)
    host, source = rest[0].strip("[]"), given["-s"].strip("[]") if "-s" in given else None
    if not host:
        raise usage_error("connect takes a HOST that is not empty")
    if source is not None and not (source and is_numeric(source)):
        raise usage_error(f"-s takes an address of the namespace, not {source!r}")
    is_udp = "-u" in given
    return Target(
        host,
        _port(rest[1], is_udp=is_udp),
        family_option(options) or 0,
        source,
        is_udp,
        inf if limit_s is None else limit_s,
    )


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
        from .dialing_advice import failure_of

        raise failure_of(command.namespace, target, error) from error
