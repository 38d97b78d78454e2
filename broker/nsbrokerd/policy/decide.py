"""The decision: may this subject have this socket in this namespace, and by which grant?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from nsbroker.wire import Address, Option, SocketSpec

from .grant import Grant
from .kinds import PORT_KINDS, is_inet
from .options import PrivilegedOption, UnknownOptionError, classify
from .subject import Subject

_FIRST_UNPRIVILEGED_PORT = 1024
_MAX_MEMO_ENTRIES = 16384
_MAX_SUBJECTS = 1024
"""Clients choose names, and who has subordinate ids chooses groups, 256 at once: what is kept of them is bounded."""


class Allow(NamedTuple):
    """The socket is granted. A named tuple, since one is made for each socket.

    `binds_as_root`: the grant lists the address, so the broker binds with its own rights. Otherwise it binds
    without any capability, and the kernel decides as it would for the client.
    """

    grant: Grant
    binds_as_root: bool = False


@dataclass(frozen=True, slots=True)
class Deny:
    """The socket is refused; `reason` says what was missing."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """The grants that are for a subject. Subjects with the same share are allowed the same."""

    grants: tuple[Grant, ...]


@dataclass(slots=True)
class Policy:
    """All grants, in the order of the files. Nothing is allowed that no single grant allows as a whole."""

    grants: tuple[Grant, ...]
    _shares: dict[tuple[int, ...], Share] = field(default_factory=dict)
    _share_of: dict[Subject, Share] = field(default_factory=dict)
    _memo: dict[tuple[Share, str, str], tuple[Grant, ...]] = field(default_factory=dict)

    def decide(self, subject: Subject, namespaces: Sequence[str], kind: str, spec: SocketSpec) -> Allow | Deny:
        """Decide about one socket. Of the grants that allow it, one without limits wins, then the first of the files.

        Args:
            subject: who asks.
            namespaces: every name that the namespace goes by: one for a name; those that match for a descriptor.
            kind: the kind of the spec's triple.
            spec: what is asked for.
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
        return limited or refused or Deny("the namespace that was sent has no name, and is none that a grant allows")

    def decide_lookup(self, subject: Subject, namespaces: Sequence[str]) -> Allow | Deny:
        """Decide whether this subject may know how names are looked up there: who has any IP socket there may."""
        for grant in self.grants_of(subject):
            if any(map(grant.namespaces.covers, namespaces)) and any(map(is_inet, grant.kinds)):
                return Allow(grant)
        return Deny(f"no grant of uid {subject.uid} has IP sockets in this namespace")

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        """List the grants that are for this subject."""
        return self.share_of(subject).grants

    def share_of(self, subject: Subject) -> Share:
        """Give the share of a subject; the same object for the same grants, mostly."""
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
        return Deny(f"no grant is for uid {subject.uid} or its groups")
    there = tuple(grant for grant in own if grant.namespaces.covers(namespace))
    if not there:
        return Deny(f"no grant of uid {subject.uid} is for namespace {namespace!r}")
    able = tuple(grant for grant in there if kind in grant.kinds)
    if not able:
        names = ", ".join(repr(grant.name) for grant in there[:3])
        return Deny(f"no {kind} sockets in namespace {namespace!r} by grant {names}")
    return tuple(sorted(able, key=_is_limited))


def _is_limited(grant: Grant) -> bool:
    return grant.limit is not None


def _decide_details(grants: tuple[Grant, ...], kind: str, spec: SocketSpec) -> Allow | Deny:
    """Find the grant that allows the options and the address to bind to, too."""
    if spec.options:
        kept = _with_options(grants, spec)
        if isinstance(kept, Deny):
            return kept
        grants = kept
    if spec.bind is None or kind not in PORT_KINDS:
        # Without ports there is nothing to bind to that the client could not bind to by itself.
        return Allow(grants[0])
    return _decide_bind(grants, (spec.bind, *spec.also))


def _decide_bind(grants: tuple[Grant, ...], addresses: tuple[Address, ...]) -> Allow | Deny:
    # Those with limits come last: mostly there is none.
    for address in addresses if _is_limited(grants[-1]) else ():
        host, port = str(address[0]), int(address[1])
        able = tuple(grant for grant in grants if grant.limit is None or grant.limit.allows_bind(host, port))
        if not able:
            return Deny(f"port {port} of {host} is not in limit.bind of grant {grants[0].name!r}")
        grants = able
    refusals: list[Deny] = []
    # Grants only add: those without limits come first, whichever of all lists the addresses.
    for _, alike in groupby(grants, _is_limited):
        unlisted: Grant | None = None
        for grant in alike:
            if all(map(grant.lists_bind, addresses)):
                return Allow(grant, binds_as_root=True)
            reason = _why_not_unlisted(grant, addresses)
            if reason is None:
                unlisted = unlisted or grant
            else:
                refusals.append(reason)
        if unlisted is not None:
            return Allow(unlisted)
    return refusals[0]


def _why_not_unlisted(grant: Grant, addresses: tuple[Address, ...]) -> Deny | None:
    """Refuse a low port that no list of the grant has: the client could not bind it by itself.

    A low port of limit.bind can be bound without any rights: the seal lifts that check of the kernel.
    """
    for address in addresses:
        host, port = str(address[0]), int(address[1])
        is_listed = grant.lists_bind(address) or (grant.limit is not None and grant.limit.lists_bind(host, port))
        if 0 < port < _FIRST_UNPRIVILEGED_PORT and not is_listed:
            return Deny(f"port {port} of {host} is not in the bind list of grant {grant.name!r}")
    return None


def _with_options(grants: tuple[Grant, ...], spec: SocketSpec) -> tuple[Grant, ...] | Deny:
    asked = _privileged(spec.options)
    if isinstance(asked, Deny):
        return asked
    if not asked:
        return grants
    kept = tuple(grant for grant in grants if grant.missing_option(asked) is None)
    if kept:
        return kept
    return Deny(f"option {grants[0].missing_option(asked)} is not in grant {grants[0].name!r}")


@lru_cache(16)
def _privileged(options: tuple[Option, ...]) -> tuple[PrivilegedOption, ...] | Deny:
    """List what a grant must name of these options: mostly nothing. All sockets of a batch may have the same."""
    try:
        return tuple(option for option in (classify(*option) for option in options) if option is not None)
    except UnknownOptionError as error:
        return Deny(str(error))
