"""`nsbrokerd explain`: what would the policy say to this request, and by which grant?"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from pathlib import Path

from nsbroker.wire import Address, Option, SocketSpec

from ..config.load import load_config
from ..policy import AddressRule, Allow, Limit, OptionRule, Subject
from ..policy.kinds import PORT_KINDS, triples_of
from ..policy.options import IP_TRANSPARENT, IPPROTO_IP, SO_BINDTODEVICE, SO_MARK, SOL_SOCKET
from ..policy.rules import parse_host


class ExplainError(ValueError):
    """The question can't be understood."""


def explain(
    path: Path, user: str, namespace: str, kind: str, *, bind: str | None, options: Sequence[str], connect: str | None
) -> tuple[bool, list[str]]:
    """Decide about one socket, as the broker and the seal would; gives whether it is allowed, and lines to read.

    Raises:
        ConfigError: with every problem of the configuration.
        ExplainError: no such user, or no such address or option.
    """
    policy = load_config(path, can_seal=os.geteuid() != 0).policy
    subject = _subject(user)
    address, peer = (None if text is None else _address(text) for text in (bind, connect))
    family = int(socket.AF_INET6 if 4 in (len(address or ()), len(peer or ())) else socket.AF_INET)
    triple = next((one for one in triples_of(kind) if one[0] == family), triples_of(kind)[0])
    spec = SocketSpec(namespace, *triple, bind=address, options=tuple(map(_option, options)))
    decision = policy.decide(subject, (namespace,), kind, spec)
    who = f"uid {subject.uid} (groups {', '.join(map(str, sorted(subject.groups)))})"
    if not isinstance(decision, Allow):
        return False, [f"denied: {who} gets no such {kind} socket in {namespace}", decision.reason]
    lines = [f"allowed: {who} gets the {kind} socket in {namespace}", f"by grant {decision.grant.name!r}"]
    if address is not None:
        by = "with the broker's rights" if decision.binds_as_root else "as the kernel allows to everybody there"
        lines.append(f"bound to {bind} {by}")
    limit = decision.grant.limit or Limit()
    lines.append(f"by itself it connects to {_texts(limit.connect)}, and binds {_texts(limit.bind)}")
    if peer is None:
        return True, lines
    is_allowed = limit.allows_connect(str(peer[0]), int(peer[1]) if kind in PORT_KINDS else None)
    lines.append(f"connecting to {connect} is {'allowed' if is_allowed else 'denied by the limit'}")
    return is_allowed, lines


def _texts(rules: Sequence[AddressRule] | None) -> str:
    if rules is None:
        return "anywhere"
    return ", ".join(rule.text for rule in rules) or "nowhere"


def _subject(user: str) -> Subject:
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError as error:
        if user.isdigit():
            return Subject(int(user), frozenset())
        raise ExplainError(f"there is no user {user!r}") from error
    return Subject(entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = {"": "0.0.0.0", "*": "0.0.0.0"}.get(host, host.strip("[]"))
    try:
        parsed = parse_host(host)
        number = int(port)
    except ValueError as error:
        raise ExplainError(f"{text!r} is not ADDRESS:PORT: {error}") from error
    if not colon or not 0 <= number <= 65535:
        raise ExplainError(f"{text!r} is not ADDRESS:PORT")
    return (host, number) if parsed.version == 4 and ":" not in host else (host, number, 0, 0)


def _option(text: str) -> Option:
    try:
        rule = OptionRule.parse(text)
    except ValueError as error:
        raise ExplainError(str(error)) from error
    if rule.name == "mark":
        return SOL_SOCKET, SO_MARK, int(rule.value, 0)
    if rule.name == "bind_device":
        return SOL_SOCKET, SO_BINDTODEVICE, rule.value.encode()
    return IPPROTO_IP, IP_TRANSPARENT, 1
