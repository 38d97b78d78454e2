"""Reads the words of a command line: options, numbers, addresses with ports, options of sockets.

Options are read as getopt(3) reads them. Python's `getopt` takes 3 ms to load, since it loads gettext and so `re`.
"""

from __future__ import annotations

import socket

from ..names.numeric import is_name
from ..place.options import AtBirth
from ..wire.bounds import MAX_SOCKETS
from ..wire.messages import Option
from .messages import usage_error

IPV4 = int(socket.AF_INET)
IPV6 = int(socket.AF_INET6)
_PACKET, _UNIX = int(socket.AF_PACKET), int(socket.AF_UNIX)

_STREAM = int(socket.SOCK_STREAM)
_DGRAM = int(socket.SOCK_DGRAM)

PORT_KINDS = {
    "tcp": (_STREAM, 0),
    "udp": (_DGRAM, 0),
    "udplite": (_DGRAM, 136),
    "mptcp": (_STREAM, 262),
    "sctp": (_STREAM, 132),
}
"""The kinds whose addresses have ports, each with type and protocol as in socket(2)."""

OPTIONS_AT_BIRTH = {"--mark": True, "--transparent": False, "--freebind": False}
"""The options that set options of sockets. Every verb that makes sockets for the user has them."""


def parse(
    args: list[str], known: dict[str, bool], *, anywhere: bool = False
) -> tuple[list[tuple[str, str]], list[str]]:
    """Split arguments into options with their values, and the rest.

    Reads -u, -46, -w5, -w 5, --wait 5, --wait=5, and -- as the end of options.

    Args:
        args: the arguments.
        known: the options, with their dashes, and whether each takes a value.
        anywhere: read options between and after other arguments as well, not just before the first one.

    Raises:
        FailureError: an option is unknown, lacks its value, or has a value that it does not take.
    """
    options: list[tuple[str, str]] = []
    rest: list[str] = []
    left = args[::-1]
    while left:
        arg = left.pop()
        if arg == "--":
            return options, rest + left[::-1]
        if len(arg) < 2 or not arg.startswith("-"):
            rest.append(arg)
            if not anywhere:
                return options, rest + left[::-1]
        elif arg.startswith("--"):
            name, equals, value = arg.partition("=")
            options.append((name, _long_value(name, equals, value, known, left)))
        else:
            options.append(_short(arg, known, left))
    return options, rest


def _long_value(name: str, equals: str, value: str, known: dict[str, bool], left: list[str]) -> str:
    if name not in known:
        raise usage_error(f"unknown option {name}")
    if not known[name]:
        if equals:
            raise usage_error(f"{name} takes no value")
        return ""
    return value if equals else _next(name, left)


def _short(arg: str, known: dict[str, bool], left: list[str]) -> tuple[str, str]:
    name, joined = arg[:2], arg[2:]
    if name not in known:
        raise usage_error(f"unknown option {name}")
    if known[name]:
        return name, joined or _next(name, left)
    if joined:
        left.append(f"-{joined}")
    return name, ""


def _next(name: str, left: list[str]) -> str:
    if not left:
        raise usage_error(f"{name} needs a value")
    return left.pop()


def whole_number(text: str, most: int) -> int | None:
    """Return the number that a text of digits means (`None`: it is not a number from 0 to `most`)."""
    # int() raises an exception for thousands of digits.
    digits = text.lstrip("0") or text[:1]
    if not (text.isascii() and text.isdecimal()) or len(digits) > len(str(most)) or int(digits) > most:
        return None
    return int(digits)


def seconds(name: str, value: str, most: float = 1e6) -> float:
    """Return the number of seconds that the option `name` was given.

    Raises:
        FailureError: the value is not a number, or is out of range.
    """
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise usage_error(f"{name} takes seconds, 0 to {most:g}, not {value!r}")
    return number


def at_birth(options: list[tuple[str, str]]) -> AtBirth:
    """Return the options of sockets that --mark, --transparent and --freebind select.

    Raises:
        FailureError: the mark is not a number, or is out of range.
    """
    given = dict(options)
    mark = _mark(given["--mark"]) if "--mark" in given else None
    return AtBirth(mark, "--transparent" in given, "--freebind" in given)


def stock_size(options: list[tuple[str, str]]) -> int:
    """Return the number of sockets that --stock selects (0: it was not given).

    Raises:
        FailureError: it is not a number, or is out of range.
    """
    text = dict(options).get("--stock", "0")
    size = whole_number(text, MAX_SOCKETS)
    if size is None:
        raise usage_error(f"--stock takes a number of sockets, 0 to {MAX_SOCKETS}, not {text!r}")
    return size


def options_at_birth(options: list[tuple[str, str]], family: int) -> tuple[Option, ...]:
    """Return the options of --mark, --transparent and --freebind that sockets of a family can have.

    Raises:
        FailureError: as `at_birth`.
    """
    return at_birth(options).of(family)


def all_options_at_birth(options: list[tuple[str, str]], family: int) -> tuple[Option, ...]:
    """Return the options that --mark, --transparent and --freebind select, for a socket of a family.

    Raises:
        FailureError: as `at_birth`, or sockets of this family don't have one of the options.
    """
    selected = options_at_birth(options, family)
    if len(selected) < sum(name in OPTIONS_AT_BIRTH for name in dict(options)):
        names = "only --mark" if family == _PACKET else "none of --mark, --transparent and --freebind"
        kind = "packet" if family == _PACKET else "Unix" if family == _UNIX else "netlink"
        raise usage_error(f"{kind} sockets have {names}")
    return selected


def _mark(text: str) -> int:
    try:
        mark = int(text, 0)
    except ValueError:
        mark = -1
    if not 0 <= mark < 2**32:
        raise usage_error(f"--mark takes a number such as 16 or 0x10, at most 0xffffffff, not {text!r}")
    return mark


def family_option(options: list[tuple[str, str]]) -> int | None:
    """Return the family that -4 or -6 selects (`None`: neither was given).

    Raises:
        FailureError: both were given.
    """
    names = {name for name, _ in options} & {"-4", "-6"}
    if len(names) == 2:
        raise usage_error("-4 and -6 exclude each other")
    return None if not names else IPV4 if "-4" in names else IPV6


def port_number(text: str) -> int:
    """Return a port.

    Raises:
        FailureError: the text is not a number of 0..65535.
    """
    port = whole_number(text, 65535)
    if port is None:
        raise usage_error(f"{text!r} is no port number: use 0 to 65535")
    return port


def listen_address(text: str, family: int | None) -> tuple[int, tuple[str, int]]:
    """Return family and (host, port) of an address such as 80, :80, *:80, 10.0.0.1:80 or [::]:80.

    An address without a host means every address of the family (default: IPv4). The host may be a name.

    Raises:
        FailureError: the text has another form, or the host is not of `family`.
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
    """Return the family of a host. That of a name is the one that the user selected (default: IPv4).

    Raises:
        FailureError: the host is not of the family that the user selected.
    """
    found = IPV6 if ":" in host else IPV4
    if family and found == IPV4 and is_name(host, family):
        return family
    if family and family != found:
        raise usage_error(f"{host} is no address for -{4 if family == IPV4 else 6}")
    return found
