"""`nsbrokerd explain` shows how the policy would decide about a request of any user, and by which grant."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nsbroker.wire import Address, Explanation, Option, SocketSpec

from ..config.load import load_config
from ..policy import OptionRule, Subject
from ..policy.engine_names import NameError_, parse_engine_name
from ..policy.explain import explain as explain_decision
from ..policy.kinds import KINDS, PORT_KINDS, triples_of
from ..policy.options import IP_TRANSPARENT, IPPROTO_IP, SO_BINDTODEVICE, SO_MARK, SOL_SOCKET
from ..policy.plans import Refusal
from ..policy.rules import parse_host
from .common import CommandError, add_config

UNPRIVILEGED_PORTS = "any address with a port from 1024 on, unless the namespace allows lower ones"

_MAX_PORT, _MAX_PORT_DIGITS = 65535, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)
    parser.add_argument("--user", required=True, help="the user that would request the socket, by name or id")
    parser.add_argument("--bind", metavar="ADDRESS:PORT", help="the address to which the broker would bind the socket")
    parser.add_argument("--connect", metavar="ADDRESS:PORT", help="the address to which the client would connect")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="a privileged option: mark=0x10, bind_device=eth0 or transparent; can be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "namespace", metavar="NS", help="name of a namespace, a name such as podman:web, @host, or @own"
    )
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help=", ".join(KINDS))


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    decision = explain(
        *(arguments.config, arguments.user, arguments.namespace, arguments.kind),
        bind=arguments.bind,
        options=arguments.option,
        connect=arguments.connect,
    )
    print(json.dumps(_fields(decision), indent=2) if arguments.json else "\n".join(_lines(decision)))
    return 0 if decision.answer.reason is None else 1


class Decision(NamedTuple):
    """A question as the command got it, and the answer. `bind` and `connect` are addresses as text."""

    subject: Subject
    namespace: str
    kind: str
    bind: str | None
    connect: str | None
    answer: Explanation


def explain(
    path: Path, user: str, namespace: str, kind: str, *, bind: str | None, options: Sequence[str], connect: str | None
) -> Decision:
    """Decide about one socket as the broker and the seal would.

    Raises:
        ConfigError: with all problems of the configuration.
        CommandError: there is no such user, address or option.
    """
    policy = load_config(path, can_seal=os.geteuid() != 0).policy
    subject = _subject(user)
    address, peer = (None if text is None else _address(text) for text in (bind, connect))
    family = int(socket.AF_INET6 if 4 in (len(address or ()), len(peer or ())) else socket.AF_INET)
    triples = triples_of(kind)
    triple = next((one for one in triples if one[0] == family), triples[0])
    spec = SocketSpec(namespace, *triple, bind=address, options=tuple(map(_option, options)))
    try:
        parse_engine_name(namespace, policy.engines)
    except NameError_ as error:
        raise CommandError(f"{namespace!r}: {error}") from error
    answer = explain_decision(spec, peer, policy, subject, {})
    if isinstance(answer, Refusal):
        raise CommandError(answer.message)
    return Decision(subject, namespace, kind, bind, connect, answer)


def _lines(decision: Decision) -> list[str]:
    subject, namespace, kind, bind, connect, answer = decision
    groups = ", ".join(map(str, sorted(subject.groups))) or "none"
    who = f"uid {subject.uid} (groups: {groups})"
    if answer.by is None:
        lines = [f"denied: {who} gets no such {kind} socket in {namespace}"]
    else:
        lines = [f"allowed: {who} gets the {kind} socket in {namespace}", *_describe(answer, answer.by, kind, bind)]
    if connect is not None and answer.by is not None:
        lines.append(f"connecting to {connect} is {'allowed' if answer.reason is None else 'denied by the limit'}")
    if answer.reason is None:
        return lines
    lacking = [
        f"grant {grant.name!r} lacks {' and '.join(f'{key} {rule}' for key, rule in lacks)}"
        for grant, lacks in zip(answer.grants, answer.lacks, strict=True)
        if lacks
    ]
    return [*lines, answer.reason, *lacking]


def _describe(answer: Explanation, by: int, kind: str, bind: str | None) -> list[str]:
    grant = answer.grants[by]
    lines = [f"by grant {grant.name!r}"]
    if bind is not None:
        how = "with the broker's rights" if answer.binds_as_root else "without capabilities, so the kernel decides"
        lines.append(f"the broker binds it to {bind} {how}")
    if grant.limit.bind is None and kind in PORT_KINDS:
        lines.append(f"afterwards it can connect to {_listed(grant.limit.connect)}, and bind to {UNPRIVILEGED_PORTS}")
        listed = ", ".join(grant.bind) or "this grant lists none"
        return [*lines, f"only the broker can bind lower ports, when it makes the socket: {listed}"]
    reach = f"connect to {_listed(grant.limit.connect)}, and bind to {_listed(grant.limit.bind)}"
    return [*lines, f"afterwards it can {reach}"]


def _listed(rules: Sequence[str] | None) -> str:
    return "any address" if rules is None else ", ".join(rules) or "no address"


def _fields(decision: Decision) -> dict[str, object]:
    answer = decision.answer
    return {
        "allowed": answer.reason is None,
        "reason": answer.reason,
        "uid": decision.subject.uid,
        "gids": sorted(decision.subject.groups),
        "namespace": decision.namespace,
        "kind": decision.kind,
        "bind": decision.bind,
        "connect": decision.connect,
        "grant": None if answer.by is None else answer.grants[answer.by].name,
        "binds_with_rights": answer.binds_as_root,
        "grants": [
            {
                "grant": grant.name,
                "lacks": [{"key": key, "rule": rule} for key, rule in lacks],
                "limit": {key: rules for key, rules in grant.limit._asdict().items() if rules is not None},
            }
            for grant, lacks in zip(answer.grants, answer.lacks, strict=True)
        ],
    }


def _subject(user: str) -> Subject:
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError as error:
        if user.isdigit():
            return Subject(int(user), frozenset())
        raise CommandError(f"there is no user {user!r}: give the name of another one, or an id") from error
    return Subject(entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = "0.0.0.0" if host in ("", "*") else host.strip("[]")
    remedy = "write ADDRESS:PORT, like 10.0.0.1:80 or [fd00::1]:80"
    has_port = colon and port and not text.endswith("]")
    if not (
        has_port and port.isascii() and port.isdecimal() and len(port) <= _MAX_PORT_DIGITS and int(port) <= _MAX_PORT
    ):
        fault = f"{port!r} is no port of 0 to {_MAX_PORT}" if has_port else "the port is missing"
        raise CommandError(f"{text!r} is no address: {fault}: {remedy}")
    try:
        is_ipv6 = parse_host(host).version == 6 or ":" in host
    except ValueError as error:
        raise CommandError(f"{text!r} is no address: {error}: {remedy}") from error
    return (host, int(port), 0, 0) if is_ipv6 else (host, int(port))


def _option(text: str) -> Option:
    try:
        rule = OptionRule.parse(text)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if rule.name == "mark":
        return SOL_SOCKET, SO_MARK, int(rule.value, 0)
    if rule.name == "bind_device":
        return SOL_SOCKET, SO_BINDTODEVICE, rule.value.encode()
    return IPPROTO_IP, IP_TRANSPARENT, 1
