"""One grant: whom it is for, and what it allows."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nsbroker.wire import Address

from .limit import Limit
from .options import OptionRule, PrivilegedOption
from .rules import AddressRule
from .subject import Subject

SPECIAL_NAMESPACES = ("@host", "@own")


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """Names and patterns, of which "!" takes some back: a name must match one, and no one with "!".

    "*" never means "@host" or "@own": those are meant only where they are written.
    """

    texts: tuple[str, ...]
    special: frozenset[str]
    wanted: re.Pattern[str] | None
    unwanted: re.Pattern[str] | None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> NamespaceRule:
        """Read the list as the policy has it.

        Raises:
            ValueError: an entry that can match nothing.
        """
        for text in texts:
            if text.startswith("@") and text not in SPECIAL_NAMESPACES:
                raise ValueError(f"{text!r}: of the special namespaces there are '@host' and '@own'")
            if text in ("", "!") or "/" in text or text.startswith("!@"):
                raise ValueError(f"{text!r} is no name or pattern of a namespace")
        wanted = [text for text in texts if text[0] not in "!@"]
        return cls(
            tuple(texts),
            frozenset(text for text in texts if text.startswith("@")),
            _any_of(wanted),
            _any_of([text[1:] for text in texts if text.startswith("!")]),
        )

    def covers(self, name: str) -> bool:
        """Tell whether a namespace of this name is meant."""
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

    `users` and `groups` are ids; None for `users` is everyone who can connect. Sockets of a grant with a limit are
    sealed; without one they are not.
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
        """Tell whether the subject is one of the users or in one of the groups."""
        return self.users is None or subject.uid in self.users or not self.groups.isdisjoint(subject.groups)

    def lists_bind(self, address: Address) -> bool:
        """Tell whether the broker binds to this IP address for the client with its own rights."""
        host, port = str(address[0]), int(address[1])
        for rule in self.bind:  # noqa: SIM110  # a generator takes twice the time
            if rule.covers(host, port):
                return True
        return False

    def missing_option(self, options: Iterable[PrivilegedOption]) -> PrivilegedOption | None:
        """Give the first of the options that is not allowed."""
        for option in options:
            if not any(rule.covers(option) for rule in self.options):
                return option
        return None
