"""`NS resolve HOST`: the addresses of a host, one a line, by the name servers and hosts file of the namespace."""

from __future__ import annotations

import socket
import sys

from ..errors import AccessDeniedError
from ..lookups import Lookups
from ..wire.messages import SocketSpec
from .command import Command
from .endpoint import IPV4, family_option
from .failure import REFUSED, FailureError, usage_error
from .options import parse

_OPTIONS = {"-4": False, "-6": False}


def run(command: Command) -> int:
    """Print them in the order in which a program should try them (RFC 6724)."""
    options, rest = parse(command.args, _OPTIONS, anywhere=True)
    if len(rest) != 1:
        raise usage_error("resolve takes one HOST")
    family = family_option(options) or 0
    if command.wait_s:
        _wait_for_namespace(command)
    names = Lookups(command.namespace, command.client, command.wait_s)
    sys.stdout.write("".join(f"{address}\n" for address in _addresses(names, rest[0], family)))
    return 0


def _wait_for_namespace(command: Command) -> None:
    """Wait by a socket, of which kind ever: the broker tells of name servers at once or not at all."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        try:
            (sock,) = command.client.open([SocketSpec(command.namespace, IPV4, int(kind))], command.wait_s)
        except AccessDeniedError:
            continue
        sock.close()
        return


def _addresses(names: Lookups, host: str, family: int) -> list[str]:
    try:
        found = names.getaddrinfo(host, 0, family, socket.SOCK_STREAM)
        # With NI_NUMERICHOST, since a link-local one is of use with its interface alone.
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        return [names.getnameinfo(sockaddr, numeric)[0] for *_, sockaddr in found]
    except socket.gaierror as error:
        reasons = [error.strerror or str(error), *getattr(error, "__notes__", ())]
        raise FailureError(f"can't resolve {host}: {'; '.join(reasons)}", REFUSED) from error
