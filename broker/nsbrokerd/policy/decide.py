"""Decides whether a user may have a socket in a namespace, and by which grant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from nsbroker.wire import Option, SocketSpec

from .grant import Grant, Subject
from .kinds import PORT_KINDS, is_inet
from .limit import Endpoint
from .options import PrivilegedOption, UnknownOptionError, classify

_FIRST_UNPRIVILEGED_PORT = 1024
_NO_NAME = "no grant covers the namespace you sent: it has no name under /run/netns, and it is not your own"
_MAX_MEMO_ENTRIES = 16384
_MAX_FIRST_PORTS = 256
_MAX_SUBJECTS = 1024
"""Clients choose the names in requests. A user with subordinate ids also chooses its groups, 256 at once. So all
memories are bounded."""


class Allow(NamedTuple):
    """The socket is allowed. This is a named tuple because the broker makes one for each socket.

    If `binds_as_root`, the grant lists the address, so the broker binds with its own rights. Otherwise the broker binds
    without any capability, and the kernel decides as it would for the client.
    """

    grant: Grant
    binds_as_root: bool = False


@dataclass(frozen=True, slots=True)
class Deny:
    """The socket is refused. `reason` names the missing permission."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """The grants for a subject. Subjects with the same share have the same permissions."""

    grants: tuple[Grant, ...]


@dataclass(slots=True)
class Policy:
    """All grants, in the order of the files. A socket is allowed only if a single grant allows all of it.

    Attributes:
        grants: the grants.
        engines: the engines that are switched on. Their words are reserved: no entry of /run/netns has such a name.
    """

    grants: tuple[Grant, ...]
    engines: frozenset[str] = frozenset()
    _shares: dict[tuple[int, ...], Share] = field(default_factory=dict)
    _share_of: dict[Subject, Share] = field(default_factory=dict)
    _memo: dict[tuple[Share, str, str], tuple[Grant, ...]] = field(default_factory=dict)
    _first_ports: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)

    def decide(self, subject: Subject, namespaces: Sequence[str], kind: str, spec: SocketSpec) -> Allow | Deny:
        """Decide about one socket. If several grants allow it, prefer one without a limit, otherwise the first.

        Args:
            subject: the user that requests the socket.
            namespaces: all names of the namespace. A request by name has one, a request by descriptor can have several.
            kind: the kind of the spec's family, type and protocol.
            spec: the requested socket.
        """
        limited: Allow | None = None
        refused: Deny | None = None
        for namespace in namespaces:
            grants = self._grants_for(subject, namespace, kind)
            decision = grants if isinstance(grants, Deny) else _decide_details(grants, kind, spec)
            if isinstance(decision, Deny):
                refused = refused or decision
            elif decision.grant.limit is None:
                return decision
            else:
                limited = limited or decision
        return limited or refused or Deny(_NO_NAME)

    def first_ports(self, subject: Subject, namespaces: Sequence[str], kind: str) -> tuple[int, ...]:
        """Return the first port of each range of ports whose sockets are decided alike, if all else is the same.

        The arguments are those of `decide`.
        """
        found_for = [self._grants_for(subject, namespace, kind) for namespace in namespaces]
        grants = [grant for found in found_for if not isinstance(found, Deny) for grant in found]
        # By the grants, and not by the names, which clients choose: for many rules, the ports take some kilobytes.
        key = tuple(map(id, grants))
        known = self._first_ports.get(key)
        if known is not None:
            return known
        first = {0, 1, _FIRST_UNPRIVILEGED_PORT}
        for grant in grants:
            for rule in (*grant.bind, *((grant.limit and grant.limit.bind) or ())):
                first.update((rule.first_port, rule.last_port + 1))
        if len(self._first_ports) >= _MAX_FIRST_PORTS:
            self._first_ports.clear()
        found = self._first_ports[key] = tuple(sorted(first))
        return found

    def decide_lookup(self, subject: Subject, namespaces: Sequence[str]) -> Allow | Deny:
        """Decide whether a subject may read a namespace's resolver files.

        This takes a grant that allows at least one kind of IP socket in the namespace.
        """
        for grant in self.grants_of(subject):
            if any(map(grant.namespaces.covers, namespaces)) and any(map(is_inet, grant.kinds)):
                return Allow(grant)
        return Deny(f"no grant of uid {subject.uid} allows IP sockets in this namespace")

    def is_reserved(self, name: str) -> bool:
        """Return whether a name belongs to an engine that is switched on, even if it is not a legal one."""
        engine, colon, _ = name.partition(":")
        return bool(colon) and engine in self.engines

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        """Return the grants for a subject."""
        return self.share_of(subject).grants

    def share_of(self, subject: Subject) -> Share:
        """Return the share of a subject. Subjects with the same grants mostly get the same object."""
        share = self._share_of.get(subject)
        if share is None:
            if len(self._share_of) >= _MAX_SUBJECTS:
                self._share_of.clear()
                self._shares.clear()
            own = tuple(index for index, grant in enumerate(self.grants) if grant.is_for(subject))
            share = self._shares.setdefault(own, Share(tuple(self.grants[index] for index in own)))
            self._share_of[subject] = share
        return share

    def _grants_for(self, subject: Subject, namespace: str, kind: str) -> tuple[Grant, ...] | Deny:
        share = self.share_of(subject)
        found = self._memo.get((share, namespace, kind))
        if found is None:
            decision = _match(share.grants, subject, namespace, kind)
            if isinstance(decision, Deny):
                return decision
            if len(self._memo) >= _MAX_MEMO_ENTRIES:
                self._memo.clear()
            found = self._memo[share, namespace, kind] = decision
        return found


def _match(own: tuple[Grant, ...], subject: Subject, namespace: str, kind: str) -> tuple[Grant, ...] | Deny:
    if not own:
        return Deny(f"no grant covers uid {subject.uid} or its groups")
    there = tuple(grant for grant in own if grant.namespaces.covers(namespace))
    if not there:
        return Deny(f"no grant of uid {subject.uid} covers namespace {namespace!r}")
    able = tuple(grant for grant in there if kind in grant.kinds)
    if not able:
        names = ", ".join(repr(grant.name) for grant in there[:3])
        who = f"grant {names} allows" if len(there) == 1 else f"grants {names} allow"
        return Deny(f"{who} no {kind} sockets in namespace {namespace!r}")
    return tuple(sorted(able, key=_is_limited))


def _is_limited(grant: Grant) -> bool:
    return grant.limit is not None


def _decide_details(grants: tuple[Grant, ...], kind: str, spec: SocketSpec) -> Allow | Deny:
    """Find a grant that also allows the options and the addresses to bind to."""
    if spec.options:
        kept = _with_options(grants, spec)
        if isinstance(kept, Deny):
            return kept
        grants = kept
    ends = ends_of(spec, kind)
    return _decide_bind(grants, ends) if ends else Allow(grants[0])


def ends_of(spec: SocketSpec, kind: str) -> list[Endpoint]:
    """List the addresses that the policy decides about. The client could bind to one without a port by itself."""
    if spec.bind is None or kind not in PORT_KINDS:
        return []
    return [(str(address[0]), int(address[1])) for address in (spec.bind, *spec.also)]


def _decide_bind(grants: tuple[Grant, ...], ends: Sequence[Endpoint]) -> Allow | Deny:
    # Grants with limits come last, and mostly there is none.
    for host, port in ends if _is_limited(grants[-1]) else ():
        able = tuple(grant for grant in grants if grant.limit is None or grant.limit.allows_bind(host, port))
        if not able:
            return Deny(f"port {port} of {host} is not in limit.bind of grant {grants[0].name!r}")
        grants = able
    refusals: list[Deny] = []
    # A grant without a limit is preferred even if only a limited one lists the addresses.
    for _, alike in groupby(grants, _is_limited):
        unlisted: Grant | None = None
        for grant in alike:
            if all(grant.lists_bind(host, port) for host, port in ends):
                return Allow(grant, binds_as_root=True)
            reason = _why_not_unlisted(grant, ends)
            if reason is None:
                unlisted = unlisted or grant
            else:
                refusals.append(reason)
        if unlisted is not None:
            return Allow(unlisted)
    return refusals[0]


def lacks_low_port(grant: Grant, host: str, port: int) -> bool:
    """Return whether this is a low port that is in no list of the grant.

    A low port of limit.bind needs no rights: the seal lifts this check of the kernel.
    """
    is_listed = grant.lists_bind(host, port) or (grant.limit is not None and grant.limit.lists_bind(host, port))
    return 0 < port < _FIRST_UNPRIVILEGED_PORT and not is_listed


def _why_not_unlisted(grant: Grant, ends: Sequence[Endpoint]) -> Deny | None:
    """Refuse a low port that is in no list of the grant, because the client could not bind to it by itself."""
    for host, port in ends:
        if lacks_low_port(grant, host, port):
            return Deny(f"port {port} of {host} is not in the bind list of grant {grant.name!r}")
    return None


def _with_options(grants: tuple[Grant, ...], spec: SocketSpec) -> tuple[Grant, ...] | Deny:
    asked = privileged_options(spec.options)
    if isinstance(asked, Deny):
        return asked
    if not asked:
        return grants
    kept = tuple(grant for grant in grants if grant.missing_option(asked) is None)
    if kept:
        return kept
    return Deny(f"grant {grants[0].name!r} does not allow option {grants[0].missing_option(asked)}")


@lru_cache(16)
def privileged_options(options: tuple[Option, ...]) -> tuple[PrivilegedOption, ...] | Deny:
    """Return the options that a grant must name. Mostly there are none, and all sockets of a batch have the same."""
    try:
        return tuple(option for option in (classify(*option) for option in options) if option is not None)
    except UnknownOptionError as error:
        return Deny(str(error))
