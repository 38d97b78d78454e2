"""Decides about requests, and remembers what it decided as long as the policy is the same."""

from __future__ import annotations

from collections.abc import Sequence

from nsbroker.wire import OpenRequest, SocketSpec

from ..namespaces.netns import HOST, NamespaceNotFoundError, check_name
from ..namespaces.sent import SentNamespaces
from ..policy import Policy, Share, Subject
from ..policy.plans import Plan, Refusal, is_common, plan

_MAX_ENTRIES = 16384
"""More than a large host has namespaces."""


class Planner:
    """Makes plans by one policy."""

    def __init__(self, policy: Policy, sent: SentNamespaces) -> None:
        self._policy = policy
        self._sent = sent
        self._known: dict[tuple[Share, tuple[SocketSpec, ...]], Plan] = {}

    def plan(self, subject: Subject, request: OpenRequest, fds: Sequence[int]) -> Plan | Refusal:
        """Decide about each socket of a request: all are allowed, or the first refused one is named.

        The plan for one socket in a named namespace is kept, if it is a common one.

        Raises:
            NamespaceNotFoundError: a name can't be one; `position` is that of its socket.
        """
        sockets = request.sockets
        if fds or not is_common(sockets):
            return self._decide(subject, request, fds)
        key = self._policy.share_of(subject), sockets
        known = self._known.get(key)
        if known is not None:
            return known
        decision = self._decide(subject, request, fds)
        if not isinstance(decision, Refusal):
            if len(self._known) >= _MAX_ENTRIES:
                self._known.clear()
            self._known[key] = decision
        return decision

    def _decide(self, subject: Subject, request: OpenRequest, fds: Sequence[int]) -> Plan | Refusal:
        for position, spec in enumerate(request.sockets):
            if isinstance(spec.namespace, str) and spec.namespace != HOST:
                try:
                    check_name(spec.namespace)
                except NamespaceNotFoundError as error:
                    error.position = position
                    raise
        names = {index: self._sent.names_of(fd, subject.uid) for index, fd in enumerate(fds)} if fds else {}
        return plan(request, self._policy, subject, names)
