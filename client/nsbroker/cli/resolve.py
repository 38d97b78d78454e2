"""The verb `NS resolve HOST`: prints the addresses of a host, by the name servers and hosts file of the namespace."""

from __future__ import annotations

import socket

from ..drivers.thread import run as wait_for
from ..place.place import Place
from .arguments import family_option, parse
from .command import Command
from .messages import REFUSED, FailureError, print_text, printable, usage_error
from .patience import teller
from .presence import expect_namespace

_OPTIONS = {"-4": False, "-6": False}


def run(command: Command) -> int:
    """Print one address a line, in the order in which a program should try them (RFC 6724)."""
    options, rest = parse(command.args, _OPTIONS, anywhere=True)
    if len(rest) != 1:
        raise usage_error("resolve takes one HOST")
    (host,), family = rest, family_option(options) or 0
    if not host:
        raise usage_error("resolve takes a HOST that is not empty")
    if command.wait_s:
        # The broker does not wait in a request for resolver files.
        expect_namespace(command.client, command.namespace, command.wait_s)
    place = Place(command.client.broker, command.namespace, command.wait_s)
    # Printable, since the scope of a link-local address is an interface's name.
    found = wait_for(_addresses(place, host, family), teller(f"waiting for the addresses of {host}"))
    print_text("".join(f"{printable(address)}\n" for address in found))
    return 0


async def _addresses(place: Place, host: str, family: int) -> list[str]:
    try:
        found = await place.getaddrinfo(host, 0, family, socket.SOCK_STREAM)
        # By getnameinfo, since a link-local address is useless without its interface.
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        return [(await place.getnameinfo(sockaddr, numeric))[0] for *_, sockaddr in found]
    except socket.gaierror as error:
        reasons = [error.strerror or str(error), *getattr(error, "__notes__", ())]
        raise FailureError(f"can't resolve {host}: {'; '.join(reasons)}", REFUSED) from error
