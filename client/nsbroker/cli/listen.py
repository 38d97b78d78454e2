"""`NS listen -l ADDR:PORT -- CMD`: a server program gets listening sockets, in the way it knows from elsewhere."""

from __future__ import annotations

import socket

from ..place.listening import DEFAULT_BACKLOG
from ..wire.limits import MAX_WAIT_S
from ..wire.messages import SocketSpec
from . import handover
from .command import Command
from .endpoint import family_option
from .failure import usage_error
from .launch import expect_program, run_program
from .listener import listener_spec
from .options import parse, seconds, whole_number

_OPTIONS = {
    "-l": True,
    "-4": False,
    "-6": False,
    "-u": False,
    "-p": True,
    "--fdname": True,
    "--inetd": False,
    "--nginx": False,
    "--accept": False,
    "--max": True,
    "--wait": True,
}
_EXCLUDE_EACH_OTHER = (
    ("-u", "-p"),
    ("--nginx", "--inetd"),
    ("--nginx", "--accept"),
    ("--nginx", "--fdname"),
    ("--inetd", "--fdname"),
)
_DEFAULT_MAX = 64
"""As systemd's MaxConnections=."""
_MOST_MAX = 2**22
"""PID_MAX_LIMIT: there are never more processes."""
_MAX_FDNAME_BYTES = 255
_BACKLOG = 4096
"""As systemd's; the kernel takes the less of it and the namespace's net.core.somaxconn."""
_STREAM = int(socket.SOCK_STREAM)
_STANDARD_INPUT_AND_OUTPUT = [0, 1]


def run(command: Command) -> int:
    """Open the sockets; then run the program in this one's place, or one for each connection."""
    options, program = parse(command.args, _OPTIONS)
    given = dict(options)
    addresses = [value for name, value in options if name == "-l"]
    _check(given, len(addresses), program)
    names = _names(options, len(addresses), "connection" if "--accept" in given else command.namespace)
    most = _most(given.get("--max"))
    wait_s = seconds("--wait", given["--wait"], MAX_WAIT_S) if "--wait" in given else command.wait_s
    backlog = DEFAULT_BACKLOG if "--accept" in given else _BACKLOG
    specs = _specs(command.namespace, addresses, options, backlog)
    if "--accept" in given:
        _expect_streams(specs, addresses)
        expect_program(program[0])
    sockets = _open(command, specs, wait_s, addresses)
    _listen_by_ourselves(sockets, backlog)
    handover.forget_callers_sockets()
    if "--accept" in given:
        from .accepting import serve

        return serve(list(zip(sockets, names, strict=True)), most, program, inetd="--inetd" in given)
    fds = [sock.fileno() for sock in sockets]
    if "--inetd" in given:
        return run_program(program, fds * 2, _STANDARD_INPUT_AND_OUTPUT)
    return run_program(program, fds, handover.as_nginx(len(fds)) if "--nginx" in given else handover.as_systemd(names))


def _check(given: dict[str, str], count: int, program: list[str]) -> None:
    if not count:
        raise usage_error("listen needs -l ADDR:PORT")
    if not program:
        raise usage_error("listen needs a command to run, after --")
    for one, other in _EXCLUDE_EACH_OTHER:
        if one in given and other in given:
            raise usage_error(f"{one} and {other} exclude each other")
    if "--max" in given and "--accept" not in given:
        raise usage_error("--max is for --accept")
    if "--inetd" in given and "--accept" not in given and count > 1:
        raise usage_error(f"--inetd without --accept takes one -l, not {count}")


def _names(options: list[tuple[str, str]], count: int, default: str) -> list[str]:
    given = [value for name, value in options if name == "--fdname"]
    for name in given:
        if ":" in name or not (name.isascii() and name.isprintable()) or len(name) > _MAX_FDNAME_BYTES:
            raise usage_error(f"--fdname {name!r}: printable ASCII, no colon, at most {_MAX_FDNAME_BYTES} characters")
    if len(given) not in (0, 1, count):
        raise usage_error(f"{len(given)} times --fdname for {count} times -l: give one for all, or one for each")
    if not given:
        plain = "".join(char if char.isascii() and char.isprintable() and char != ":" else "_" for char in default)
        given = [plain[:_MAX_FDNAME_BYTES]]
    return given if len(given) == count else given * count


def _most(text: str | None) -> int:
    if text is None:
        return _DEFAULT_MAX
    most = whole_number(text, _MOST_MAX)
    if not most:
        raise usage_error(f"--max takes a number of commands, 1 to {_MOST_MAX}, not {text!r}")
    return most


def _specs(namespace: str, addresses: list[str], options: list[tuple[str, str]], backlog: int) -> list[SocketSpec]:
    given, family = dict(options), family_option(options)
    kind = given.get("-p", "udp" if "-u" in given else "tcp")
    specs = [listener_spec(namespace, text, kind, family, backlog) for text in addresses]
    if "--nginx" in given:
        # It leaves inherited listeners as they are, and a worker that another one was faster than would block.
        specs = [spec._replace(type=spec.type | socket.SOCK_NONBLOCK) for spec in specs]
    return specs


def _expect_streams(specs: list[SocketSpec], addresses: list[str]) -> None:
    for spec, address in zip(specs, addresses, strict=True):
        if spec.type != _STREAM:
            raise usage_error(f"-l {address}: datagrams are no connections to accept; leave out --accept")


def _open(command: Command, specs: list[SocketSpec], wait_s: float, addresses: list[str]) -> list[socket.socket]:
    try:
        sockets = command.client.open(specs, wait_s)
    except OSError as error:
        from .bind_advice import at_address

        raise at_address(error, [f"-l {address}" for address in addresses]) from error
    # Not to hold a place at the broker for as long as connections are accepted.
    command.client.close()
    return sockets


def _listen_by_ourselves(sockets: list[socket.socket], backlog: int) -> None:
    for sock in sockets:
        if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
            # The broker does not: whoever calls listen(2) is the server for those who connect (SO_PEERCRED).
            sock.listen(backlog)
