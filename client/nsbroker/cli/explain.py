"""The verb `NS explain KIND`: prints which of the user's grants allows a socket, or the rules that each lacks."""

from __future__ import annotations

import socket

from ..names.numeric import is_name
from ..place.listening import bind_address
from ..wire.messages import Address, Explanation, SocketSpec
from .arguments import (
    IPV4,
    OPTIONS_AT_BIRTH,
    PORT_KINDS,
    all_options_at_birth,
    family_option,
    host_family,
    listen_address,
    parse,
)
from .command import Command
from .messages import REFUSED, print_text, printable, usage_error
from .socket_verb import all_kinds, triple_of

_OPTIONS = {"-4": False, "-6": False, "--bind": True, "--connect": True, **OPTIONS_AT_BIRTH}
_UNIX = (int(socket.AF_UNIX), int(socket.SOCK_STREAM), 0)
_UNPRIVILEGED_PORTS = "any address with a port from 1024 on, unless the namespace allows lower ones"
_REMEDY = "ask the administrator to add this to one of these grants, or for a grant of your own: see nsbrokerd.toml(5)"
_NO_GRANT = (
    "ask the administrator for a grant there: see nsbrokerd.toml(5). nsbroker-get list shows all that you may use"
)


def run(command: Command) -> int:
    """Print the explanation. Return 0 if the socket and the connection are allowed."""
    options, kinds = parse(command.args, _OPTIONS, anywhere=True)
    if len(kinds) != 1:
        raise usage_error("explain takes one KIND")
    given, (kind,) = dict(options), kinds
    spec, connect = _question(command.namespace, kind, options)
    answer = command.client.explain(spec, connect)
    lines = _denied(answer) if answer.reason is not None else _allowed(answer, command.namespace, kind, given)
    if not answer.exists:
        lines.append(f"{command.namespace} does not exist now: nsbroker-get --wait SECONDS waits for it")
    print_text("".join(f"{printable(line)}\n" for line in lines))
    return 0 if answer.reason is None else REFUSED


def _question(namespace: str, kind: str, options: list[tuple[str, str]]) -> tuple[SocketSpec, Address | None]:
    if kind not in (*all_kinds(), "unix"):
        raise usage_error(f"unknown kind {kind}: use one of {', '.join(all_kinds())}, unix")
    given, family = dict(options), family_option(options)
    addresses: dict[str, Address] = {}
    for option in ("--connect", "--bind"):
        if option in given:
            family, addresses[option] = _address(option, given[option], kind, family)
    triple = _UNIX if kind == "unix" else triple_of(kind, family or IPV4)
    birth = all_options_at_birth(options, triple[0])
    return SocketSpec(namespace, *triple, addresses.get("--bind"), options=birth), addresses.get("--connect")


def _address(option: str, text: str, kind: str, family: int | None) -> tuple[int, Address]:
    """Return family and address. An interface is left out, since a rule covers its address on every interface."""
    if kind in PORT_KINDS:
        if option == "--connect" and text.rpartition(":")[0] in ("", "*"):
            raise usage_error(f"--connect takes ADDRESS:PORT, not {text!r}")
        family, (host, port) = listen_address(text, family)
    elif kind == "icmp" or kind.startswith("raw:"):
        host, port = text.strip("[]"), 0
        family = host_family(host, family)
    else:
        raise usage_error(f"{option} is not for {kind}: a grant covers these sockets with every address")
    if is_name(host, family):
        raise usage_error(
            f"{option} takes an address, not the name {host!r}: nsbroker-get NS resolve prints the addresses of a name"
        )
    address, *rest = bind_address((host, port), family)
    return family, (str(address).partition("%")[0], *rest)  # type: ignore[return-value]  # of the same shape


def _allowed(answer: Explanation, namespace: str, kind: str, given: dict[str, str]) -> list[str]:
    grant = answer.grants[answer.by or 0]
    lines = [f"allowed: a {kind} socket in {namespace}, by grant {grant.name!r}"]
    if "--bind" in given:
        how = "with its own rights" if answer.binds_as_root else "without any rights, so the kernel decides"
        lines.append(f"the broker binds it to {given['--bind']} {how}")
    if "--connect" in given:
        lines.append(f"connecting it to {given['--connect']} is allowed")
    connect, bind = map(_listed, grant.limit)
    if grant.limit.bind is None and kind in PORT_KINDS:
        bind = _UNPRIVILEGED_PORTS
    lines.append(f"afterwards you can connect it to {connect}, and bind it to {bind}")
    if bind == _UNPRIVILEGED_PORTS:
        listed = ", ".join(grant.bind) or "this grant lists none"
        lines.append(f"only the broker can bind lower ports, when it makes the socket: {listed}")
    return lines


def _listed(rules: tuple[str, ...] | None) -> str:
    return "any address" if rules is None else ", ".join(rules) or "no address"


def _denied(answer: Explanation) -> list[str]:
    lines = [f"denied: {answer.reason}"]
    by = None if answer.by is None else answer.grants[answer.by].name
    if by is not None:
        lines.append(f"the socket alone is allowed, by grant {by!r}")
    for grant, lacks in zip(answer.grants, answer.lacks, strict=True):
        if lacks:
            missing = " and ".join(f"{key} {rule}" for key, rule in lacks)
            lines.append(f"grant {grant.name!r} lacks {missing}")
        else:
            lines.append(f"grant {grant.name!r} allows all of it, but the broker prefers grant {by!r}")
    return [*lines, _REMEDY if any(answer.lacks) else _NO_GRANT]
