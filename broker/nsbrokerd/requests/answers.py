"""Answers that may not fit a packet: one sealed memfd each."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence

from nsbroker.wire import GrantSummary, LimitSummary, NamespaceList, encode_namespaces

from ..namespaces.netns import identity, list_names
from ..namespaces.sent import SentNamespaces
from ..policy import AddressRule, Grant, Limit, OptionRule
from ..policy.grant import SPECIAL_NAMESPACES

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NAMES_AT_ONCE = 256


def seal(data: bytes) -> int:
    """Put `data` into a memfd that nobody can change any more; the caller owns it.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    fd = os.memfd_create("nsbroker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def list_namespaces(grants: tuple[Grant, ...], sent: SentNamespaces) -> Iterator[bytes | None]:
    """Say which namespaces these grants are for, of those that exist.

    Yields None whenever it has run for a while, and the encoded answer at last.
    """
    entries: list[tuple[str, tuple[int, ...]]] = []
    names = [*SPECIAL_NAMESPACES, *(sorted(list_names()) if grants else ())]
    for number, name in enumerate(names):
        if number % _NAMES_AT_ONCE == _NAMES_AT_ONCE - 1:
            yield None
        indices = tuple(index for index, grant in enumerate(grants) if grant.namespaces.covers(name))
        if indices and (name in SPECIAL_NAMESPACES or sent.is_on_nsfs(identity(name))):
            entries.append((name, indices))
    yield encode_namespaces(NamespaceList(tuple(map(_summarise, grants)), tuple(entries)))


def _summarise(grant: Grant) -> GrantSummary:
    limit = grant.limit or Limit()
    connect, bind = (None if rules is None else _texts(rules) for rules in (limit.connect, limit.bind))
    return GrantSummary(
        grant.name, tuple(sorted(grant.kinds)), _texts(grant.bind), _texts(grant.options), LimitSummary(connect, bind)
    )


def _texts(rules: Sequence[AddressRule | OptionRule]) -> tuple[str, ...]:
    return tuple(rule.text for rule in rules)
