"""The limit of a grant: which addresses, and that each of its kinds of sockets can be held to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..policy import AddressRule, Limit
from ..policy.limit import MAX_RULES, why_no_bind_limit, why_no_limit
from ..policy.rules import parse_host
from .table import Table

_NAME_PORT = 53
_HINT = " with the name servers, in whose place there can be one for all, like '*:53'"


def read_limit(
    table: Table, kinds: Sequence[str], why_no_seal: Callable[[], str | None], name_servers: Callable[[], Sequence[str]]
) -> Limit | None:
    """Read `limit` of a grant, None when there is none. What can't be enforced is a problem, never left out.

    Args:
        table: the grant's.
        kinds: its kinds of sockets.
        why_no_seal: asked only if there is a limit: why this host can't enforce any.
        name_servers: likewise: the addresses that look up names in the grant's namespaces.
    """
    if "limit" not in table:
        return None
    entry = table.take_table("limit")
    connect, bind = (entry.take_parsed(key, AddressRule.parse) if key in entry else None for key in ("connect", "bind"))
    if connect is None and bind is None:
        table.complain("limit", "limits nothing: name connect or bind, like { connect = ['10.0.0.0/8:443'] }")
    entry.refuse_the_rest()
    reason = why_no_seal()
    if reason is not None:
        table.complain("limit", f"this host can't enforce it: {reason}")
    _refuse_kinds(table, kinds, bind is not None)
    if connect:
        connect += _missing_servers(connect, name_servers())
    for key, rules in (("connect", connect), ("bind", bind)):
        if rules is not None and len(rules) > MAX_RULES:
            entry.complain(key, f"{len(rules)} addresses; at most {MAX_RULES}{_HINT if key == 'connect' else ''}")
    return Limit(connect, bind)


def _refuse_kinds(table: Table, kinds: Sequence[str], has_bind: bool) -> None:
    for kind in dict.fromkeys(kinds):
        if reason := why_no_limit(kind):
            table.complain("limit", f"{kind} sockets can't be limited: {reason}; give them a grant of their own")
        elif has_bind and (reason := why_no_bind_limit(kind)):
            table.complain("limit.bind", f"{kind} sockets can't be limited: {reason}; give them a grant of their own")


def _missing_servers(connect: Sequence[AddressRule], servers: Sequence[str]) -> tuple[AddressRule, ...]:
    """Give rules for the name servers that no rule covers: sockets that go anywhere at all can look up names."""
    hosts = dict.fromkeys(map(parse_host, servers))
    missing = [host for host in hosts if not any(rule.covers(str(host), _NAME_PORT) for rule in connect)]
    texts = (f"[{host}]" if host.version == 6 else str(host) for host in missing)
    return tuple(AddressRule.parse(f"{text}:{_NAME_PORT}") for text in texts)
