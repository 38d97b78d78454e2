"""The verb `NS socket --type KIND --fd N -- CMD`: runs a program with one socket, bound or not, as descriptor N."""

from __future__ import annotations

import errno
import socket

from ..place.listening import bind_address
from ..wire.kind_names import NETLINK_PROTOCOLS, RAW_PROTOCOLS
from ..wire.messages import Address, SocketSpec
from .arguments import (
    IPV4,
    IPV6,
    OPTIONS_AT_BIRTH,
    PORT_KINDS,
    all_options_at_birth,
    family_option,
    host_family,
    listen_address,
    parse,
    whole_number,
)
from .command import Command
from .launch import run_program
from .messages import usage_error

_OPTIONS = {"--type": True, "-4": False, "-6": False, "--bind": True, "--fd": True, **OPTIONS_AT_BIRTH}
_ALL_PROTOCOLS = 3
"""ETH_P_ALL."""
_MOST_DESCRIPTOR = 2**31 - 1
_DGRAM = int(socket.SOCK_DGRAM)
_RAW = int(socket.SOCK_RAW)
_ICMP = 1
_ICMPV6 = 58


def run(command: Command) -> int:
    """Open the socket and execute the program in place of this one."""
    options, program = parse(command.args, _OPTIONS)
    given = dict(options)
    if "--type" not in given:
        raise usage_error("socket needs --type")
    targets = [_descriptor(value) for name, value in options if name == "--fd"]
    if not targets:
        raise usage_error("socket needs --fd N")
    if not program:
        raise usage_error("socket needs a command to run, after --")
    spec = _spec(command.namespace, given["--type"], given.get("--bind"), family_option(options))
    spec = spec._replace(options=all_options_at_birth(options, spec.family))
    (sock,) = _open(command, spec, given.get("--bind"))
    run_program(program, [sock.fileno()] * len(targets), targets)


def _open(command: Command, spec: SocketSpec, bind: str | None) -> list[socket.socket]:
    try:
        return command.client.open([spec], command.wait_s)
    except OSError as error:
        # For `listen`, EACCES is always about ports. Here it may also come from the namespace's ping_group_range.
        if bind is None or error.errno == errno.EACCES:
            raise
        from .advice import bind_failure

        raise bind_failure(error, [f"--bind {bind}"]) from error


def _spec(namespace: str, kind: str, bind: str | None, family: int | None) -> SocketSpec:
    address: Address | None = None
    if bind is not None:
        family, address = _bind_address(kind, bind, family)
    return SocketSpec(namespace, *triple_of(kind, family or IPV4), address)


def _bind_address(kind: str, text: str, family: int | None) -> tuple[int | None, Address]:
    if kind == "packet":
        return family, (text, _ALL_PROTOCOLS)
    if kind.startswith("netlink:"):
        raise usage_error("--bind is not for netlink sockets")
    if kind == "icmp" or kind.startswith("raw:"):
        family = host_family(text, family)
        return family, bind_address((text, 0), family)
    family, address = listen_address(text, family)
    return family, bind_address(address, family)


def triple_of(kind: str, family: int) -> tuple[int, int, int]:
    """Return family, type and protocol of a kind of socket, named as in the broker's policy.

    Args:
        kind: a kind, such as "tcp" or "raw:ospf".
        family: AF_INET or AF_INET6, for the kinds that exist for both.

    Raises:
        FailureError: there is no such kind.
    """
    name, _, protocol = kind.partition(":")
    if kind in PORT_KINDS:
        return (family, *PORT_KINDS[kind])
    if kind == "icmp":
        return family, _DGRAM, _ICMPV6 if family == IPV6 else _ICMP
    if kind == "packet":
        return int(socket.AF_PACKET), _RAW, 0
    if name == "raw" and protocol in RAW_PROTOCOLS:
        return family, _RAW, RAW_PROTOCOLS[protocol]
    if name == "netlink" and protocol in NETLINK_PROTOCOLS:
        return int(socket.AF_NETLINK), _RAW, NETLINK_PROTOCOLS[protocol]
    raise usage_error(f"unknown kind --type {kind}: use one of {', '.join(all_kinds())}")


def all_kinds() -> list[str]:
    """Return the names of all kinds."""
    raw = [f"raw:{name}" for name in RAW_PROTOCOLS]
    return [*PORT_KINDS, "icmp", "packet", *raw, *(f"netlink:{name}" for name in NETLINK_PROTOCOLS)]


def _descriptor(text: str) -> int:
    number = whole_number(text, _MOST_DESCRIPTOR)
    if number is None:
        raise usage_error(f"--fd {text}: a descriptor is a number from 0 to {_MOST_DESCRIPTOR}")
    return number
