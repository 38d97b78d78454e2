"""Reads the grants of a configuration, with their limits. A limit that can't be enforced is a problem."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from ..policy import AddressRule, Grant, Limit, NamespaceRule, OptionRule
from ..policy.kinds import KINDS
from ..policy.limit import MAX_RULES, NEED_SECOND_WALL, why_no_bind_limit, why_no_limit
from ..policy.rules import is_covered, parse_host
from .table import MAX_NAME_CHARACTERS, Table, did_you_mean, show

_MAX_ID = 2**32 - 2
_NAME_PORT = 53
_NAME_SERVERS_HINT = ", including those of the name servers, which one rule like '*:53' can replace"


class Host(Protocol):
    """The host that a configuration is for."""

    def uid(self, name: str) -> int | None:
        """Return the id of a user, or None if there is no such user."""

    def gid(self, name: str) -> int | None:
        """Return the id of a group, or None if there is no such group."""

    def why_no_seal(self) -> str | None:
        """Return why this host can't enforce limits, or None if it can."""

    def why_no_second_wall(self) -> str | None:
        """Return why this host can't have the second wall of the seal, or None if it can."""

    def name_servers(self, namespaces: NamespaceRule) -> Sequence[str]:
        """Return the addresses of the name servers of these namespaces."""


def read_grants(table: Table, host: Host, engines: Collection[str] = ()) -> list[tuple[Table, Grant]]:
    """Read all grants of a file. Return each with its table, so that later problems can name their place.

    Args:
        table: the file.
        host: the host that it is for.
        engines: the engines that are switched on.
    """
    return [(entry, _read_grant(entry, host, engines)) for entry in table.take_tables("grant")]


def refuse_double_names(grants: list[tuple[Table, Grant]]) -> None:
    """Note each name that two grants share, because audit and refusals could not tell them apart."""
    seen: dict[str, str] = {}
    for table, grant in grants:
        if grant.name and grant.name in seen:
            reason = f"a grant in {seen[grant.name]} already has the name {grant.name!r}: give each its own"
            table.complain("name", reason)
        seen.setdefault(grant.name, table.file)


def _read_grant(table: Table, host: Host, engines: Collection[str]) -> Grant:
    names_some = bool(table.peek("users") or table.peek("groups"))
    users, groups = _take_ids(table, "users", host.uid), _take_ids(table, "groups", host.gid)
    if groups is None:
        table.complain("groups", "'*' is not a group: write users = [\"*\"] to cover everyone who can connect")
    elif not names_some and users is not None:
        table.complain("users", 'the grant covers no user: name users, groups, or users = ["*"]')
    if "units" in table:
        table.take("units", list, [])
        table.complain("units", "a unit can't be proven from a process id: name the unit's user or group")
    namespaces, kinds = _take_namespaces(table, engines), _take_kinds(table)
    grant = Grant(
        name=_take_name(table),
        users=users,
        groups=groups or frozenset(),
        namespaces=namespaces,
        kinds=frozenset(kinds),
        bind=table.take_parsed("bind", AddressRule.parse),
        options=table.take_parsed("options", OptionRule.parse),
        limit=_read_limit(table, kinds, namespaces, host) if "limit" in table else None,
    )
    table.refuse_the_rest()
    return grant


def _take_name(table: Table) -> str:
    name = table.take("name", str, "")
    if not name or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        table.complain("name", "a grant needs a name of 1..100 printable characters: audit and refusals show it")
    return name


def _take_ids(table: Table, key: str, look_up: Callable[[str], int | None]) -> frozenset[int] | None:
    """Take users or groups. Return their ids, or None for "*".

    A name that the host does not know stands for no one. It must not keep all other users out.
    """
    values = table.take_items(key, (str, int))
    ids = []
    for value in values:
        number = look_up(value) if isinstance(value, str) else value
        if number is not None and 0 <= number <= _MAX_ID:
            ids.append(number)
        elif isinstance(value, int):
            table.complain(key, f"{show(value)} is not an id: use 0 to {_MAX_ID}")
        elif value != "*":
            told = f"there is no {key[:-1]} {value!r}, so the grant does not cover it: create it, or remove its name"
            table.complain(key, told, is_fatal=False)
    return None if "*" in values else frozenset(ids)


def _take_namespaces(table: Table, engines: Collection[str]) -> NamespaceRule:
    texts = table.take_strings("namespaces")
    try:
        rule = NamespaceRule.parse(texts, engines)
    except ValueError as error:
        table.complain("namespaces", str(error))
        return NamespaceRule.parse([])
    if not rule.covers_some():
        table.complain("namespaces", "the grant covers no namespace: name some, like ['blue', 'tenant-*', '@host']")
    return rule


def _take_kinds(table: Table) -> list[str]:
    kinds = table.take_strings("sockets")
    for kind in kinds:
        if kind not in KINDS:
            advice = did_you_mean(kind, KINDS) or f"use some of {', '.join(KINDS)}"
            table.complain("sockets", f"{kind!r} is not a kind of socket: {advice}")
    if not kinds:
        table.complain("sockets", "the grant allows no socket: name some kinds, like ['tcp', 'udp']")
    return kinds


def _read_limit(table: Table, kinds: Sequence[str], namespaces: NamespaceRule, host: Host) -> Limit:
    """Read the limit of a grant for these kinds and namespaces."""
    entry = table.take_table("limit")
    connect, bind = (entry.take_parsed(key, AddressRule.parse) if key in entry else None for key in ("connect", "bind"))
    if connect is None and bind is None:
        table.complain("limit", "the limit is empty: name connect or bind, like { connect = ['10.0.0.0/8:443'] }")
    entry.refuse_the_rest()
    reason = host.why_no_seal()
    if reason is not None:
        table.complain("limit", f"this host can't enforce it: {reason}")
    _refuse_kinds(table, kinds, host, has_bind=bind is not None)
    if connect:
        connect += _missing_servers(connect, host.name_servers(namespaces))
    for key, rules, hint in (("connect", connect, _NAME_SERVERS_HINT), ("bind", bind, "")):
        if rules is not None and len(rules) > MAX_RULES:
            entry.complain(key, f"{len(rules)} rules are too many: use at most {MAX_RULES}{hint}")
    return Limit(connect, bind)


def _refuse_kinds(table: Table, kinds: Sequence[str], host: Host, *, has_bind: bool) -> None:
    for kind in dict.fromkeys(kinds):
        key, reason = "limit", why_no_limit(kind)
        if reason is None and has_bind:
            key, reason = "limit.bind", why_no_bind_limit(kind)
        if reason is None and kind in NEED_SECOND_WALL and (missing := host.why_no_second_wall()):
            reason = f"they need the second wall, which this host can't have: {missing}"
        if reason is not None:
            table.complain(key, f"{kind} sockets can't be limited: {reason}: move them to a grant without this limit")


def _missing_servers(connect: Sequence[AddressRule], servers: Sequence[str]) -> tuple[AddressRule, ...]:
    """Return rules for the name servers that no rule covers, so that limited sockets can look up names."""
    hosts = dict.fromkeys(map(parse_host, servers))
    missing = [host for host in hosts if not is_covered(connect, str(host), _NAME_PORT)]
    texts = (f"[{host}]" if host.version == 6 else str(host) for host in missing)
    return tuple(AddressRule.parse(f"{text}:{_NAME_PORT}") for text in texts)
