"""What is done for a request: decide, open, make, write the audit, and give the answer."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nsbroker.wire import (
    DENIED,
    NO_SUCH_NAMESPACE,
    OS_ERROR,
    OVERLOADED,
    ErrorReply,
    OpenedSocket,
    OpenReply,
    OpenRequest,
    ResolverRequest,
    SocketSpec,
    encode_resolver_files,
)

from ..clients.peer import Peer
from ..namespaces.netns import (
    DESCRIPTORS_USED_UP,
    HOST,
    Gate,
    NamespaceName,
    NamespaceNotFoundError,
    check_name,
    identity,
    open_namespace,
)
from ..namespaces.resolver_files import read_resolver_files
from ..namespaces.sent import SentNamespaces
from ..policy import Deny, Policy
from ..policy.plans import Plan, PlannedGroup, Refusal
from ..sockets.opener import Opened, Opener, OpenError
from .answers import list_namespaces, seal
from .audit import Audit
from .planner import Planner


class Granted(NamedTuple):
    """Sockets that were made and audited; the receiver owns them."""

    reply: OpenReply
    opened: list[Opened]

    def close(self) -> None:
        """Close this process's copies."""
        for one in self.opened:
            one.sock.close()


class Handler:
    """Answers requests. Everything here runs in the main thread, from beginning to end without a pause."""

    def __init__(self, policy: Policy, audit: Audit, gate: Gate, opener: Opener, sent: SentNamespaces) -> None:
        self._gate = gate
        self._opener = opener
        self._sent = sent
        self.use(policy, audit)

    def use(self, policy: Policy, audit: Audit) -> None:
        """Decide by this policy, and write to this audit, from now on."""
        self._audit = audit
        self._policy = policy
        self._planner = Planner(policy, self._sent)

    def try_open(self, peer: Peer, request: OpenRequest, fds: Sequence[int]) -> Granted | Refusal:
        """Make the sockets of a request, if the policy allows all and the kernel makes all. No audit of a refusal.

        Args:
            peer: who asks.
            request: what for.
            fds: the descriptors that it names, known to be network namespaces; they are only lent.
        """
        opened_fds: list[int] = []
        planned: Plan = []
        try:
            decision = self._planner.plan(peer.subject, request, fds)
            if isinstance(decision, Refusal):
                return decision
            planned = decision
            groups = []
            for group in planned:
                groups.append((self._open(group, fds, opened_fds), group.sockets))
            opened = self._opener.open_sockets(groups, peer.subject.uid, peer.gid)
        except NamespaceNotFoundError as error:
            namespace = None if error.position is None else request.sockets[error.position].namespace
            return Refusal(NO_SUCH_NAMESPACE, str(error), None, error.position, str(namespace))
        except OpenError as error:
            refusal = _refuse_os_error(error.errno, error.message, error.position)
            return _at_socket(refusal, planned, error.position)
        except OSError as error:
            return _refuse_os_error(error.errno or 0, str(error), None)
        finally:
            for fd in opened_fds:
                os.close(fd)
        return self._hand_out(peer, request, opened)

    def _open(self, group: PlannedGroup, fds: Sequence[int], opened_fds: list[int]) -> int:
        namespace = group.namespace
        if isinstance(namespace, int):
            return fds[namespace]
        if namespace == HOST:
            return self._gate.home_fd
        try:
            opened_fds.append(open_namespace(NamespaceName(namespace)))  # the planner has checked it
        except NamespaceNotFoundError as error:
            error.position = group.sockets[0].position
            raise
        return opened_fds[-1]

    def _hand_out(self, peer: Peer, request: OpenRequest, opened: list[Opened]) -> Granted | Refusal:
        try:
            self._audit.allowed(peer, request.request_id, opened)
        except OSError as error:
            for one in opened:
                one.sock.close()
            return Refusal(OVERLOADED, f"the audit can't be written, so nothing is handed out: {error.strerror}")
        sockets = tuple([OpenedSocket(one.cookie, one.netns, one.name) for one in opened])
        return Granted(OpenReply(request.request_id, sockets), opened)

    def is_namespace(self, fd: int) -> bool:
        """Tell whether a descriptor that a client sent is a network namespace. If not, closing it can hang."""
        return self._sent.is_namespace(fd)

    def refuse(
        self, peer: Peer, request_id: int | None, operation: str, refusal: Refusal, specs: Sequence[SocketSpec] = ()
    ) -> ErrorReply:
        """Write the refusal to the audit, and give it as a reply."""
        with contextlib.suppress(OSError):  # nothing is handed out either way
            self._audit.refused(peer, request_id, operation, refusal, specs)
        return ErrorReply(request_id, refusal.code, refusal.message, refusal.errno, refusal.spec_index)

    def list_namespaces(self, peer: Peer, request_id: int) -> Iterator[int | None]:
        """Make the memfd that says what this peer may use where; its receiver owns it.

        Yields None whenever it has run for a while, and the descriptor at last.

        Raises:
            OSError: the audit can't be written, or no descriptor is left.
        """
        for answer in list_namespaces(self._policy.grants_of(peer.subject), self._sent):
            if answer is None:
                yield None
            else:
                self._audit.answered(peer, request_id, "namespaces")
                yield seal(answer)

    def resolver_files(self, peer: Peer, request: ResolverRequest, fds: Sequence[int]) -> int | Refusal:
        """Make the memfd with the texts by which names are looked up in a namespace; its receiver owns it."""
        try:
            return self._answer_lookup(peer, request, fds)
        except NamespaceNotFoundError as error:
            return Refusal(NO_SUCH_NAMESPACE, str(error), namespace=str(request.namespace))
        except OSError as error:
            return _refuse_os_error(error.errno or errno.EIO, error.strerror or str(error), None)

    def _answer_lookup(self, peer: Peer, request: ResolverRequest, fds: Sequence[int]) -> int | Refusal:
        namespace = request.namespace
        if isinstance(namespace, int):
            names = self._sent.names_of(fds[namespace], peer.subject.uid)
        else:
            names = [namespace if namespace == HOST else check_name(namespace)]
        label = "=".join(names)
        decision = self._policy.decide_lookup(peer.subject, names)
        if isinstance(decision, Deny):
            return Refusal(DENIED, decision.reason, namespace=label)
        if isinstance(namespace, str) and namespace != HOST and not self._sent.is_on_nsfs(identity(namespace)):
            raise NamespaceNotFoundError(f"there is no network namespace {namespace!r}")
        files = read_resolver_files(filter(decision.grant.namespaces.covers, names))
        self._audit.answered(peer, request.request_id, "resolver", namespace=label, grant=decision.grant.name)
        return seal(encode_resolver_files(files))


def _at_socket(refusal: Refusal, planned: Plan, position: int) -> Refusal:
    """Say in the audit which namespace and grant it was about."""
    for group in planned:
        for planned_socket in group.sockets:
            if planned_socket.position == position:
                return refusal._replace(namespace=group.label, grant=planned_socket.grant.name)
    return refusal


def _refuse_os_error(number: int, message: str, position: int | None) -> Refusal:
    if number in DESCRIPTORS_USED_UP:
        return Refusal(OVERLOADED, "the broker has no descriptor left; try again", spec_index=position)
    return Refusal(OS_ERROR, message, number, position)
