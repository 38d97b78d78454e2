"""Plans the sockets of one request by a policy, or refuses it. Pure.

A plan groups the sockets by namespace, so that the broker enters each namespace once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from nsbroker.wire import BAD_REQUEST, DENIED, NamespaceRef, SocketSpec

from . import Deny, Grant, Policy, Subject
from .kinds import KIND_OF_TRIPLE, Triple, triple_of


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
    packets = 0
    for position, spec in enumerate(specs):
        if position and not position % _SOCKETS_IN_STEP:
            yield
        namespace = spec.namespace
        group = groups.get(namespace)
        if group is None:
            group = groups[namespace] = PlannedGroup(namespace, _label(namespace, sent), [])
        planned = _plan_socket(position, group.label, spec, policy, subject, sent)
        if isinstance(planned, Refusal):
            return planned._replace(spec_index=position, namespace=group.label)
        packets += planned.kind == "packet"
        group.sockets.append(planned)
    if packets > 1:
        told = f"{packets} packet sockets in one request; request one at a time, since each is slow to close"
        return Refusal(BAD_REQUEST, told)
    return list(groups.values())


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
