"""One grant: the users and namespaces that it covers, and the sockets that it allows."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nsbroker.wire import GrantSummary, LimitSummary

from .engine_names import ENGINES
from .limit import Limit
from .options import OptionRule, PrivilegedOption
from .rules import AddressRule, is_covered

SPECIAL_NAMESPACES = ("@host", "@own")

DEFAULT_SOCKETS = {
    "podman": "/run/podman/podman.sock",
    "docker": "/run/docker.sock",
    "pod": "/run/containerd/containerd.sock",
}
"""Where the engines listen on most hosts. For messages: no engine is switched on by default."""

_NAME_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!^-]+")
"""The characters of engines' names and of patterns."""


class Subject(NamedTuple):
    """A user as the policy sees it: the user id, and the effective and supplementary group ids.

    The process id is not part of it, because a process can pass its connection on, and ids are reused.
    """

    uid: int
    groups: frozenset[int]


class Names(NamedTuple):
    """Patterns for one sort of names: a name must match one of `wanted`, and none of `unwanted`."""

    wanted: re.Pattern[str] | None
    unwanted: re.Pattern[str] | None

    @classmethod
    def of(cls, wanted: Sequence[str], unwanted: Sequence[str]) -> Names:
        """Take the patterns as texts, those of `unwanted` without their "!"."""
        return cls(_any_of(wanted), _any_of(unwanted))

    def cover(self, name: str) -> bool:
        """Return whether a name is covered."""
        if self.wanted is None or not self.wanted.match(name):
            return False
        return self.unwanted is None or not self.unwanted.match(name)


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """Names and patterns of namespaces. A name must match at least one entry, and no entry that begins with "!".

    "*" never covers "@host" or "@own". A rule covers these two only if it lists them. A name of an engine that is
    switched on, such as "podman:web", needs an entry that begins with this engine's word and a colon.

    Attributes:
        texts: the list of the configuration.
        special: "@host" and "@own", if they are listed.
        plain: the patterns for entries of /run/netns.
        by_engine: the patterns for names of each engine that is switched on.
    """

    texts: tuple[str, ...]
    special: frozenset[str]
    plain: Names
    by_engine: Mapping[str, Names] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str], engines: Collection[str] = ()) -> NamespaceRule:
        """Read a list of the configuration, for example ["tenant-*", "!tenant-mgmt", "podman:web-*"].

        Args:
            texts: the entries.
            engines: the engines that are switched on.

        Raises:
            ValueError: an entry can't match any namespace, or its engine is not switched on.
        """
        lists: dict[str, tuple[list[str], list[str]]] = {engine: ([], []) for engine in ("", *engines)}
        for text in texts:
            if text.startswith("@") and text not in SPECIAL_NAMESPACES:
                raise ValueError(f"{text!r} is not a special namespace: use '@host' or '@own'")
            if text in ("", "!") or "/" in text or text.startswith("!@"):
                raise ValueError(
                    f"{text!r} is not a name or pattern of a namespace: write it like 'a', 'a-*' or '!a-x'"
                )
            pattern = text.removeprefix("!")
            engine = _engine_of(pattern, text, engines)
            if not text.startswith("@"):
                lists[engine][text.startswith("!")].append(pattern)
        return cls(
            tuple(texts),
            frozenset(text for text in texts if text.startswith("@")),
            Names.of(*lists.pop("")),
            {engine: Names.of(*both) for engine, both in lists.items()},
        )

    def covers(self, name: str) -> bool:
        """Return whether the rule covers a namespace of this name."""
        if name.startswith("@"):
            return name in self.special
        engine, colon, _ = name.partition(":")
        names = self.by_engine.get(engine) if colon else None
        return (self.plain if names is None else names).cover(name)

    def covers_entry(self, name: str) -> bool:
        """Return whether the rule covers an entry of /run/netns or /etc/netns. An entry never has an engine's name."""
        engine, colon, _ = name.partition(":")
        return self.covers(name) and not (colon and engine in self.by_engine)

    def covers_some(self) -> bool:
        """Return whether the rule can cover a namespace at all."""
        return bool(self.special) or any(names.wanted for names in (self.plain, *self.by_engine.values()))

    def covers_some_of(self, engine: str) -> bool:
        """Return whether the rule can cover a container or pod of this engine."""
        names = self.by_engine.get(engine)
        return names is not None and names.wanted is not None


def _engine_of(pattern: str, text: str, engines: Collection[str]) -> str:
    """Return the engine whose names a pattern is for, or "".

    Raises:
        ValueError: the engine is not switched on, or it has no name that the pattern matches.
    """
    engine, colon, name = pattern.partition(":")
    if not colon or engine not in ENGINES:
        return ""
    if engine not in engines:
        raise ValueError(
            f"{text!r} is for the engine {engine}, which is not switched on: add {engine} = "
            f"{DEFAULT_SOCKETS[engine]!r} to [engines], or remove the pattern"
        )
    if not name or not _NAME_PATTERN.fullmatch(name):
        form = "pod:NAMESPACE.*" if engine == "pod" else f"{engine}:web-*"
        raise ValueError(f"{text!r} matches no name of {engine}: write it like '{form}'")
    return engine


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
