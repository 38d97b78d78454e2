"""Plans the sockets of one request by a policy, or refuses it. Pure.

A plan groups the sockets by namespace, so that the broker enters each namespace once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from nsbroker.wire import BAD_REQUEST, DENIED, NamespaceRef, SocketSpec, make_record

from . import Deny, Grant, Policy, Subject
from .kinds import KIND_OF_TRIPLE, PORT_KINDS, Triple, triple_of


class Refusal(NamedTuple):
    """The reason why a request gets no socket and no answer.

    `errno` comes only with the code os-error. `spec_index` is the position of the socket that failed. `namespace` and
    `grant` are only for the audit.
    """

    code: str
    message: str
    errno: int | None = None
    spec_index: int | None = None
    namespace: str | None = None
    grant: str | None = None


class PlannedSocket(NamedTuple):
    """A socket that the policy allows.

    `position` is its place in the request, `label` the name of its namespace for the audit. A plain one is not bound,
    does not listen and has no options.
    """

    position: int
    label: str
    spec: SocketSpec
    triple: Triple
    kind: str
    grant: Grant
    binds_as_root: bool
    is_plain: bool = False


class PlannedGroup(NamedTuple):
    """The sockets of one namespace. The audit calls the namespace `label`."""

    namespace: NamespaceRef
    label: str
    sockets: list[PlannedSocket]


Plan = list[PlannedGroup]

_SOCKETS_IN_STEP = 8


def plan(
    specs: Sequence[SocketSpec], policy: Policy, subject: Subject, sent: Mapping[int, Sequence[str]]
) -> Plan | Refusal:
    """Plan a request at once. Arguments and result are those of `plan_in_steps`."""
    steps = plan_in_steps(specs, policy, subject, sent)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            planned: Plan | Refusal = end.value
            return planned


def plan_in_steps(
    specs: Sequence[SocketSpec], policy: Policy, subject: Subject, sent: Mapping[int, Sequence[str]]
) -> Generator[None, None, Plan | Refusal]:
    """Decide about each socket of a request: all are allowed, or the refusal names the first that is not.

    It yields after some sockets.

    Args:
        specs: the requested sockets.
        policy: the grants.
        subject: the identity of the client.
        sent: for each descriptor of the request, all names of its namespace (maybe an empty list).
    """
    groups: dict[NamespaceRef, PlannedGroup] = {}
    alike_in: dict[NamespaceRef, _Alike] = {}
    packets = 0
    for position, spec in enumerate(specs):
        if position and not position % _SOCKETS_IN_STEP:
            yield
        namespace = spec.namespace
        group = groups.get(namespace)
        if group is None:
            group = groups[namespace] = PlannedGroup(namespace, _label(namespace, sent), [])
            alike_in[namespace] = _Alike(policy, subject, sent)
        alike = alike_in[namespace]
        planned = alike.plan(position, spec)
        if planned is None:
            decided = _plan_socket(position, group.label, spec, policy, subject, sent)
            if isinstance(decided, Refusal):
                return decided._replace(spec_index=position, namespace=group.label)
            alike.keep(decided)
            planned = decided
        packets += planned.kind == "packet"
        group.sockets.append(planned)
    if packets > 1:
        told = f"{packets} packet sockets in one request; request one at a time, since each is slow to close"
        return Refusal(BAD_REQUEST, told)
    return list(groups.values())


class _Alike:
    """The last decision of a plan for a namespace. It also holds for another port in the same range of the rules.

    A batch is mostly of such sockets, and deciding about one takes as long as the kernel needs to make it.
    """

    __slots__ = ("_has_port", "_last", "_policy", "_ports", "_ranges", "_sent", "_subject")

    def __init__(self, policy: Policy, subject: Subject, sent: Mapping[int, Sequence[str]]) -> None:
        self._policy = policy
        self._subject = subject
        self._sent = sent
        self._last: PlannedSocket | None = None
        self._has_port = False
        # The first port of each range that the rules tell apart, and by range, a socket that was allowed. Both are
        # empty before the second socket of a shape comes.
        self._ports: Sequence[int] = ()
        self._ranges: dict[int, PlannedSocket] = {}

    def plan(self, position: int, spec: SocketSpec) -> PlannedSocket | None:
        """Plan a socket like the last one. None means that it needs a decision of its own."""
        known = self._find(spec)
        if known is None:
            return None
        _, label, _, triple, kind, grant, binds_as_root, is_plain = known
        return make_record(PlannedSocket, (position, label, spec, triple, kind, grant, binds_as_root, is_plain))

    def _find(self, spec: SocketSpec) -> PlannedSocket | None:
        last = self._last
        if last is None:
            return None
        if not self._has_port:
            return last if spec == last.spec else None
        if not _are_alike(spec, last.spec, has_port=True):
            return None
        if not self._ports:
            names = (spec.namespace,) if isinstance(spec.namespace, str) else self._sent[spec.namespace]
            self._ports = self._policy.first_ports(self._subject, names, last.kind)
            self._ranges = {self._range_of(last.spec): last}
        return self._ranges.get(self._range_of(spec))

    def _range_of(self, spec: SocketSpec) -> int:
        return bisect_right(self._ports, spec.bind[1]) if spec.bind else 0

    def keep(self, planned: PlannedSocket) -> None:
        """Keep the decision about a socket."""
        spec = planned.spec
        has_port = spec.bind is not None and not spec.also and planned.kind in PORT_KINDS
        if self._last is None or has_port is not self._has_port or not _are_alike(spec, self._last.spec, has_port):
            self._ports = ()
            self._ranges = {}
        elif has_port:
            self._ranges[self._range_of(spec)] = planned
        self._last = planned
        self._has_port = has_port


def _are_alike(spec: SocketSpec, other: SocketSpec, has_port: bool) -> bool:
    """Return whether two specs are equal. With `has_port`, only their ports may differ."""
    if spec[:4] != other[:4] or spec[5:] != other[5:]:
        return False
    bind, others = spec[4], other[4]
    if not has_port or bind is None or others is None:
        return bind == others
    return bind[0] == others[0] and bind[2:] == others[2:]


def _label(namespace: NamespaceRef, sent: Mapping[int, Sequence[str]]) -> str:
    if isinstance(namespace, str):
        return namespace
    return f"descriptor:{'='.join(sent[namespace])}"


def _plan_socket(
    position: int, label: str, spec: SocketSpec, policy: Policy, subject: Subject, sent: Mapping[int, Sequence[str]]
) -> PlannedSocket | Refusal:
    triple = triple_of(spec)
    kind = KIND_OF_TRIPLE.get(triple)
    if kind is None:
        family, socket_type, proto = triple
        told = f"family {family}, type {socket_type}, protocol {proto} is no kind of socket that a grant can name"
        return Refusal(DENIED, told)
    if kind == "unix" and spec.listen is not None:
        told = "the broker can't listen() on a Unix socket, because its peers would see root; call listen() yourself"
        return Refusal(BAD_REQUEST, told)
    namespace = spec.namespace
    names = (namespace,) if isinstance(namespace, str) else sent[namespace]
    decision = policy.decide(subject, names, kind, spec)
    if isinstance(decision, Deny):
        return Refusal(DENIED, decision.reason)
    is_plain = spec.bind is None and spec.listen is None and not spec.options and not spec.also
    return PlannedSocket(position, label, spec, triple, kind, decision.grant, decision.binds_as_root, is_plain)
