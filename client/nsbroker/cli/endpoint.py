"""ADDR:PORT as people write it: pure."""

from __future__ import annotations

import socket

from .failure import usage_error
from .options import whole_number

IPV4 = int(socket.AF_INET)
IPV6 = int(socket.AF_INET6)


def family_option(options: list[tuple[str, str]]) -> int | None:
    """Give the family that -4 or -6 asks for; None without.

    Raises:
        FailureError: both are there.
    """
    asked = {name for name, _ in options} & {"-4", "-6"}
    if len(asked) == 2:
        raise usage_error("-4 and -6 exclude each other")
    return None if not asked else IPV4 if "-4" in asked else IPV6


def port_number(text: str) -> int:
    """Read a port.

    Raises:
        FailureError: it is no number of 0..65535.
    """
    port = whole_number(text, 65535)
    if port is None:
        raise usage_error(f"{text!r} is no port number")
    return port


def listen_address(text: str, family: int | None) -> tuple[int, tuple[str, int]]:
    """Read 80, :80, *:80, 10.0.0.1:80 or [::]:80 into family and (host, port). Without a host: all of the family's.

    Raises:
        FailureError: it is none of these, or the host is not of the family that was asked for.
    """
    head, _, port = text.rpartition(":")
    if head.startswith("[") and head.endswith("]"):
        host = head[1:-1]
    elif ":" in head:
        raise usage_error(f"{text!r}: write an IPv6 address and port as [{head}]:{port}")
    else:
        host = head
    if host in ("", "*"):
        family = family or IPV4
        return family, ("" if family == IPV4 else "::", port_number(port))
    return host_family(host, family), (host, port_number(port))


def host_family(host: str, family: int | None) -> int:
    """Give the family of a numeric host; what is a name is found out by whoever uses it.

    Raises:
        FailureError: it is not of the family that was asked for.
    """
    found = IPV6 if ":" in host else family if host == "localhost" and family else IPV4
    if family and family != found:
        raise usage_error(f"{host} is no address for -{4 if family == IPV4 else 6}")
    return found
