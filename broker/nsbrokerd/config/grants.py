"""The grants of a configuration: who may have which sockets where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..policy import AddressRule, Grant, NamespaceRule, OptionRule
from ..policy.kinds import KINDS
from .limit import read_limit
from .table import Table

_MAX_ID = 2**32 - 2


class Host(Protocol):
    """What the configuration must know of the host that it is for."""

    def uid(self, name: str) -> int | None:
        """Give the id of a user; None if there is none of this name."""

    def gid(self, name: str) -> int | None:
        """Give the id of a group; None if there is none of this name."""

    def why_no_seal(self) -> str | None:
        """Say why limits can't be enforced here; None if they can."""

    def name_servers(self, namespaces: NamespaceRule) -> Sequence[str]:
        """Give the addresses of those that look up names in these namespaces."""


def read_grants(table: Table, host: Host) -> list[tuple[Table, Grant]]:
    """Read every grant of a file; each comes with its table, to complain about it later."""
    return [(entry, _read_grant(entry, host)) for entry in table.take_tables("grant")]


def _read_grant(table: Table, host: Host) -> Grant:
    everyone, users = _take_ids(table, "users", host.uid)
    every_group, groups = _take_ids(table, "groups", host.gid)
    if every_group:
        table.complain("groups", "'*' belongs into users: everyone who can connect")
    if not (everyone or users or groups):
        table.complain("users", 'the grant is for nobody: name users, groups, or users = ["*"]')
    if "units" in table:
        table.take("units", list, [])
        table.complain("units", "a unit can't be proven from a process id; name the unit's user or group")
    namespaces = _take_namespaces(table)
    kinds = _take_kinds(table)
    grant = Grant(
        _take_name(table),
        None if everyone else frozenset(users),
        frozenset(groups),
        namespaces,
        frozenset(kinds),
        table.take_parsed("bind", AddressRule.parse),
        table.take_parsed("options", OptionRule.parse),
        read_limit(table, kinds, host.why_no_seal, lambda: host.name_servers(namespaces)),
    )
    table.refuse_the_rest()
    return grant


def _take_name(table: Table) -> str:
    name = table.take("name", str, "")
    if not name or not name.isprintable() or len(name) > 100:
        table.complain("name", "a grant needs a name of 1..100 printable characters: audit and refusals show it")
    return name


def _take_ids(table: Table, key: str, look_up: Callable[[str], int | None]) -> tuple[bool, list[int]]:
    everyone, ids = False, []
    for value in table.take_items(key, (str, int)):
        if value == "*":
            everyone = True
        elif isinstance(value, int):
            if not 0 <= value <= _MAX_ID:
                table.complain(key, f"{value} is no id")
            ids.append(value)
        elif (number := look_up(value)) is None:
            table.complain(key, f"there is no {key[:-1]} {value!r}")
        else:
            ids.append(number)
    return everyone, ids


def _take_namespaces(table: Table) -> NamespaceRule:
    texts = table.take_strings("namespaces")
    try:
        rule = NamespaceRule.parse(texts)
    except ValueError as error:
        table.complain("namespaces", str(error))
        return NamespaceRule.parse([])
    if not rule.special and rule.wanted is None:
        table.complain("namespaces", "the grant is for no namespace: name some, like ['blue', 'tenant-*', '@host']")
    return rule


def _take_kinds(table: Table) -> list[str]:
    kinds = table.take_strings("sockets")
    for kind in kinds:
        if kind not in KINDS:
            table.complain("sockets", f"{kind!r} is no kind of socket; there are {', '.join(KINDS)}")
    if not kinds:
        table.complain("sockets", "the grant is for no socket: name some, like ['tcp', 'udp']")
    return kinds


def refuse_double_names(grants: list[tuple[Table, Grant]]) -> None:
    """Note each name that two grants share: audit and refusals could not tell them apart."""
    seen: dict[str, str] = {}
    for table, grant in grants:
        if grant.name and grant.name in seen:
            table.complain("name", f"{grant.name!r} is the name of a grant in {seen[grant.name]} already")
        seen.setdefault(grant.name, table.file)
