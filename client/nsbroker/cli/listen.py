"""The verb `NS listen -l ENDPOINT -- CMD`: runs a server with listening sockets, as systemd, inetd or nginx would.

An endpoint is ADDR:PORT, ADDR:PORT/KIND, or @NAME for an abstract Unix socket.
"""

from __future__ import annotations

import os
import socket

from ..place.listening import DEFAULT_BACKLOG, bind_address, server_options
from ..wire.bounds import MAX_ABSTRACT_BYTES, MAX_WAIT_S
from ..wire.messages import SocketSpec
from . import launch
from .arguments import (
    OPTIONS_AT_BIRTH,
    PORT_KINDS,
    all_options_at_birth,
    family_option,
    listen_address,
    parse,
    seconds,
    whole_number,
)
from .command import Command
from .messages import usage_error
from .patience import say_if_long

_OPTIONS = {
    **dict.fromkeys(("-4", "-6", "-u", "--inetd", "--nginx", "--accept"), False),
    **dict.fromkeys(("-l", "-p", "--fdname", "--max", "--wait"), True),
    **OPTIONS_AT_BIRTH,
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
"""As systemd's. The kernel reduces it to the namespace's net.core.somaxconn."""
_STREAM = int(socket.SOCK_STREAM)
_DGRAM = int(socket.SOCK_DGRAM)
_AF_UNIX = int(socket.AF_UNIX)
_UNIX_TYPES = {"tcp": _STREAM, "udp": _DGRAM}
_SOL_SOCKET = int(socket.SOL_SOCKET)


def run(command: Command) -> int:
    """Open the sockets. Then execute the program in place of this one, or run one for each connection."""
    options, program = parse(command.args, _OPTIONS)
    given = dict(options)
    endpoints = [value for name, value in options if name == "-l"]
    _check(given, len(endpoints), program)
    names = _names(options, len(endpoints), "connection" if "--accept" in given else command.namespace)
    most = _most(given.get("--max"))
    wait_s = seconds("--wait", given["--wait"], MAX_WAIT_S) if "--wait" in given else command.wait_s
    say_if_long(command.client, command.namespace, wait_s)
    backlog = DEFAULT_BACKLOG if "--accept" in given else _BACKLOG
    specs = _specs(command.namespace, endpoints, options, backlog)
    if "--accept" in given:
        _expect_streams(specs, endpoints)
        launch.expect_program(program[0])
    sockets = _open(command, specs, wait_s, endpoints)
    _listen_on_unix(sockets, backlog)
    launch.forget_callers_sockets()
    if "--accept" in given:
        from .accepting import serve

        return serve(list(zip(sockets, names, strict=True)), most, program, inetd="--inetd" in given)
    fds = [sock.fileno() for sock in sockets]
    if "--inetd" in given:
        return launch.run_program(program, fds * 2, [0, 1])
    targets = launch.as_nginx(len(fds)) if "--nginx" in given else launch.as_systemd(names)
    return launch.run_program(program, fds, targets)


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


def _specs(namespace: str, endpoints: list[str], options: list[tuple[str, str]], backlog: int) -> list[SocketSpec]:
    given, family = dict(options), family_option(options)
    kind = given.get("-p", "udp" if "-u" in given else "tcp")
    specs = [listener_spec(namespace, text, kind, family, backlog) for text in endpoints]
    specs = [spec._replace(options=all_options_at_birth(options, spec.family) + spec.options) for spec in specs]
    if "--nginx" in given:
        # nginx does not change inherited listeners. On a blocking one, a worker would hang when another was faster.
        specs = [spec._replace(type=spec.type | socket.SOCK_NONBLOCK) for spec in specs]
    return specs


def listener_spec(namespace: str, text: str, kind: str, family: int | None, backlog: int) -> SocketSpec:
    """Return the spec of the socket for one `-l`. Its Unix sockets do not listen yet: only the client may do that.

    Args:
        namespace: the namespace's name or path.
        text: the endpoint.
        kind: the kind of socket, for an endpoint that does not name its own.
        family: AF_INET or AF_INET6 if the user selected one.
        backlog: how many connections may wait in the queue.

    Raises:
        FailureError: the endpoint has another form.
    """
    if text.startswith("@"):
        return _abstract(namespace, text, kind, family)
    if text.startswith(("/", "./")):
        raise usage_error(f"-l {text}: a path belongs to no network namespace; name an abstract socket, @NAME")
    address_text, slash, own_kind = text.partition("/")
    kind = own_kind if slash else kind
    if kind not in PORT_KINDS:
        raise usage_error(f"{kind!r} is no kind of socket to listen with: use one of {', '.join(PORT_KINDS)}")
    socket_type, protocol = PORT_KINDS[kind]
    family, address = listen_address(address_text, family)
    bind, options = bind_address(address, family), server_options(family)
    if socket_type == _DGRAM:
        # Without SO_REUSEADDR: for UDP it lets a socket of another user take the packets.
        options = tuple((level, name, value) for level, name, value in options if level != _SOL_SOCKET)
        return SocketSpec(namespace, family, socket_type, protocol, bind, None, options)
    return SocketSpec(namespace, family, socket_type, protocol, bind, backlog, options)


def _abstract(namespace: str, text: str, kind: str, family: int | None) -> SocketSpec:
    name = os.fsencode(text[1:])
    if not 1 <= len(name) <= MAX_ABSTRACT_BYTES:
        raise usage_error(f"-l {text}: an abstract name has 1 to {MAX_ABSTRACT_BYTES} bytes after the @")
    if kind not in _UNIX_TYPES or family is not None:
        raise usage_error(f"-l {text}: a Unix socket takes -u for datagrams, and neither another kind nor -4 or -6")
    return SocketSpec(namespace, _AF_UNIX, _UNIX_TYPES[kind], 0, name)


def _expect_streams(specs: list[SocketSpec], endpoints: list[str]) -> None:
    for spec, endpoint in zip(specs, endpoints, strict=True):
        if spec.type != _STREAM:
            raise usage_error(f"-l {endpoint}: datagrams are no connections to accept; leave out --accept")


def _open(command: Command, specs: list[SocketSpec], wait_s: float, endpoints: list[str]) -> list[socket.socket]:
    try:
        sockets = command.client.open(specs, wait_s)
    except OSError as error:
        from .advice import bind_failure

        raise bind_failure(error, [f"-l {endpoint}" for endpoint in endpoints]) from error
    # The server may run for long. It must not occupy a place at the broker for that time.
    command.client.close()
    return sockets


def _listen_on_unix(sockets: list[socket.socket], backlog: int) -> None:
    for sock in sockets:
        if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
            # The caller of listen(2) is the server that peers see (SO_PEERCRED), so the broker must not call it.
            sock.listen(backlog)
