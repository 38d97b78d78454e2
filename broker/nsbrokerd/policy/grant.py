"""One grant: the users and namespaces that it covers, and the sockets that it allows."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nsbroker.wire import GrantSummary, LimitSummary

from .limit import Limit
from .options import OptionRule, PrivilegedOption
from .rules import AddressRule, is_covered

SPECIAL_NAMESPACES = ("@host", "@own")


class Subject(NamedTuple):
    """A user as the policy sees it: the user id, and the effective and supplementary group ids.

    The process id is not part of it, because a process can pass its connection on, and ids are reused.
    """

    uid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """Names and patterns of namespaces. A name must match at least one entry, and no entry that begins with "!".

    "*" never covers "@host" or "@own". A rule covers these two only if it lists them.
    """

    texts: tuple[str, ...]
    special: frozenset[str]
    wanted: re.Pattern[str] | None
    unwanted: re.Pattern[str] | None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> NamespaceRule:
        """Read a list of the configuration, for example ["tenant-*", "!tenant-mgmt"].

        Raises:
            ValueError: an entry can't match any namespace.
        """
        for text in texts:
            if text.startswith("@") and text not in SPECIAL_NAMESPACES:
                raise ValueError(f"{text!r} is not a special namespace: use '@host' or '@own'")
            if text in ("", "!") or "/" in text or text.startswith("!@"):
                raise ValueError(
                    f"{text!r} is not a name or pattern of a namespace: write it like 'a', 'a-*' or '!a-x'"
                )
        wanted = [text for text in texts if text[0] not in "!@"]
        return cls(
            tuple(texts),
            frozenset(text for text in texts if text.startswith("@")),
            _any_of(wanted),
            _any_of([text[1:] for text in texts if text.startswith("!")]),
        )

    def covers(self, name: str) -> bool:
        """Return whether the rule covers a namespace of this name."""
        if name.startswith("@"):
            return name in self.special
        if self.wanted is None or not self.wanted.match(name):
            return False
        return self.unwanted is None or not self.unwanted.match(name)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(fnmatch.translate(pattern) for pattern in patterns)
    return re.compile(joined) if joined else None


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule of the policy.

    Attributes:
        name: the name in the audit and in refusals.
        users: ids of users. None covers every user that can connect.
        groups: ids of groups. A client needs to match only one of `users` and `groups`.
        namespaces: the namespaces that the grant covers.
        kinds: the kinds of sockets that the grant allows, such as "tcp".
        bind: the addresses that the broker binds with its own rights.
        options: the privileged options that the client may request.
        limit: the addresses that the kernel allows after the hand-over. None allows all of them.
    """

    name: str
    users: frozenset[int] | None
    groups: frozenset[int]
    namespaces: NamespaceRule
    kinds: frozenset[str]
    bind: tuple[AddressRule, ...] = ()
    options: tuple[OptionRule, ...] = ()
    limit: Limit | None = None

    def is_for(self, subject: Subject) -> bool:
        """Return whether the grant covers a subject, by its user or by one of its groups."""
        return self.users is None or subject.uid in self.users or not self.groups.isdisjoint(subject.groups)

    def lists_bind(self, host: str, port: int) -> bool:
        """Return whether the broker binds to this IP address with its own rights."""
        return is_covered(self.bind, host, port)

    def missing_option(self, options: Iterable[PrivilegedOption]) -> PrivilegedOption | None:
        """Return the first option that the grant does not allow, or None."""
        for option in options:
            if not any(rule.covers(option) for rule in self.options):
                return option
        return None

    def summarise(self) -> GrantSummary:
        """Describe the grant for the users that it covers. It does not say who they are."""
        limit = self.limit or Limit()
        connect, bind = (None if rules is None else _texts(rules) for rules in (limit.connect, limit.bind))
        return GrantSummary(
            self.name, tuple(sorted(self.kinds)), _texts(self.bind), _texts(self.options), LimitSummary(connect, bind)
        )


def _texts(rules: Sequence[AddressRule | OptionRule]) -> tuple[str, ...]:
    return tuple(rule.text for rule in rules)
