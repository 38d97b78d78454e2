"""`NS listen -l ADDR:PORT -- CMD`: a server program gets listening sockets, as from systemd (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket

from ..listening import DEFAULT_BACKLOG, bind_address, server_options
from ..wire.messages import SocketSpec
from .command import Command
from .endpoint import family_option, listen_address
from .failure import REFUSED, FailureError, usage_error
from .launch import run_program
from .options import parse

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""

_OPTIONS = {"-u": False, "-4": False, "-6": False, "-l": True, "--fdname": True}
_MAX_FDNAME_BYTES = 255


def run(command: Command) -> int:
    """Open the sockets and run the program in this one's place."""
    options, program = parse(command.args, _OPTIONS)
    addresses = [value for name, value in options if name == "-l"]
    if not addresses:
        raise usage_error("listen needs -l ADDR:PORT")
    if not program:
        raise usage_error("listen needs a command to run, after --")
    names = _names([value for name, value in options if name == "--fdname"], len(addresses), command.namespace)
    family = family_option(options)
    specs = [_spec(command.namespace, text, family, udp=("-u", "") in options) for text in addresses]
    try:
        sockets = command.client.open(specs, command.wait_s)
    except OSError as error:
        raise _at_address(error, addresses) from error
    _set_environment(names)
    run_program(program, [sock.fileno() for sock in sockets], list(range(FIRST_FD, FIRST_FD + len(sockets))))


def _spec(namespace: str, text: str, family: int | None, *, udp: bool) -> SocketSpec:
    family, address = listen_address(text, family)
    bind = bind_address(address, family)
    if udp:
        # Not SO_REUSEADDR: for UDP it lets another user's socket take the packets.
        options = tuple(option for option in server_options(family) if option[0] != socket.SOL_SOCKET)
        return SocketSpec(namespace, family, int(socket.SOCK_DGRAM), 0, bind, None, options)
    return SocketSpec(namespace, family, int(socket.SOCK_STREAM), 0, bind, DEFAULT_BACKLOG, server_options(family))


def _names(given: list[str], count: int, namespace: str) -> list[str]:
    for name in given:
        if ":" in name or not (name.isascii() and name.isprintable()) or len(name) > _MAX_FDNAME_BYTES:
            raise usage_error(f"--fdname {name!r}: printable ASCII, no colon, at most {_MAX_FDNAME_BYTES} characters")
    if len(given) not in (0, 1, count):
        raise usage_error(f"{len(given)} times --fdname for {count} times -l: give one for all, or one for each")
    if not given:
        plain = "".join(char if char.isascii() and char.isprintable() and char != ":" else "_" for char in namespace)
        given = [plain[:_MAX_FDNAME_BYTES]]
    return given if len(given) == count else given * count


def _at_address(error: OSError, addresses: list[str]) -> OSError | FailureError:
    index: int | None = getattr(error, "index", None)
    if index is None or type(error).__module__ != "builtins":
        return error
    return FailureError(f"-l {addresses[index]}: {error.strerror}", REFUSED)


def _set_environment(names: list[str]) -> None:
    os.environ.pop("LISTEN_PIDFDID", None)  # systemd 258's, of another program than ours
    os.environ["LISTEN_FDS"] = str(len(names))
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
    os.environ["LISTEN_PID"] = str(os.getpid())  # exec(2) keeps it
