"""What is done for a request: decide, open, make, write the audit, and give the answer."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from nsbroker.wire import (
    NO_SUCH_NAMESPACE,
    OS_ERROR,
    OVERLOADED,
    ErrorReply,
    GrantSummary,
    NamespaceList,
    OpenedSocket,
    OpenReply,
    OpenRequest,
    encode_namespaces,
)

from .audit import Audit
from .descriptors import SentNamespaces
from .netns import (
    DESCRIPTORS_USED_UP,
    HOST,
    Gate,
    NamespaceNotFoundError,
    check_name,
    identity,
    list_names,
    open_namespace,
)
from .opener import Opened, Opener, OpenError
from .peer import Peer
from .policy import Policy
from .session import Plan, Refusal, plan

T = TypeVar("T")

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NAMES_AT_ONCE = 256


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
        self.policy = policy
        self._audit = audit
        self._gate = gate
        self._opener = opener
        self._sent = sent

    def try_open(self, peer: Peer, request: OpenRequest, fds: Sequence[int]) -> Granted | Refusal:
        """Make the sockets of a request, if the policy allows all and the kernel makes all. No audit of a refusal.

        Args:
            peer: who asks.
            request: what for.
            fds: the descriptors that it names, known to be network namespaces; they are only lent.
        """
        opened_fds: list[int] = []
        try:
            planned = self._plan(peer, request, fds)
            if isinstance(planned, Refusal):
                return planned
            groups = []
            for group in planned:
                namespace_fd = _at(group.sockets[0].position, self._open, group.namespace, fds, opened_fds)
                groups.append((namespace_fd, group.sockets))
            opened = self._opener.open_sockets(groups, peer.subject.uid, peer.gid)
        except NamespaceNotFoundError as error:
            namespace = None if error.position is None else request.sockets[error.position].namespace
            return Refusal(NO_SUCH_NAMESPACE, str(error), None, error.position, str(namespace))
        except OpenError as error:
            return _refuse_os_error(error.errno, error.message, error.position)
        except OSError as error:
            return _refuse_os_error(error.errno or 0, str(error), None)
        finally:
            for fd in opened_fds:
                os.close(fd)
        return self._hand_out(peer, request, planned, opened)

    def _plan(self, peer: Peer, request: OpenRequest, fds: Sequence[int]) -> Plan | Refusal:
        for position, spec in enumerate(request.sockets):
            if isinstance(spec.namespace, str) and spec.namespace != HOST:
                _at(position, check_name, spec.namespace)
        names = {index: self._sent.names_of(fd, peer.subject.uid) for index, fd in enumerate(fds)}
        return plan(request, self.policy, peer.subject, names)

    def _open(self, namespace: str | int, fds: Sequence[int], opened_fds: list[int]) -> int:
        if isinstance(namespace, int):
            return fds[namespace]
        if namespace == HOST:
            return self._gate.home_fd
        opened_fds.append(open_namespace(check_name(namespace)))
        return opened_fds[-1]

    def _hand_out(self, peer: Peer, request: OpenRequest, planned: Plan, opened: list[Opened]) -> Granted | Refusal:
        labels = {socket.position: group.label for group in planned for socket in group.sockets}
        try:
            self._audit.allowed(peer, request.request_id, opened, [labels[one.planned.position] for one in opened])
        except OSError as error:
            for one in opened:
                one.sock.close()
            return Refusal(OVERLOADED, f"the audit can't be written, so nothing is handed out: {error.strerror}")
        sockets = tuple(OpenedSocket(one.cookie, one.netns, one.name) for one in opened)
        return Granted(OpenReply(request.request_id, sockets), opened)

    def is_namespace(self, fd: int) -> bool:
        """Tell whether a descriptor that a client sent is a network namespace. If not, closing it can hang."""
        return self._sent.is_namespace(fd)

    def refuse(self, peer: Peer, request_id: int | None, operation: str, refusal: Refusal) -> ErrorReply:
        """Write the refusal to the audit, and give it as a reply."""
        with contextlib.suppress(OSError):  # nothing is handed out either way
            self._audit.refused(peer, request_id, operation, refusal)
        return ErrorReply(request_id, refusal.code, refusal.message, refusal.errno, refusal.spec_index)

    def list_namespaces(self, peer: Peer, request_id: int) -> Iterator[int | None]:
        """Make the memfd that says what this peer may use where; its receiver owns it.

        Yields None whenever it has run for a while, and the descriptor at last.

        Raises:
            OSError: the audit can't be written, or no descriptor is left.
        """
        grants = self.policy.grants_of(peer.subject)
        summaries = tuple(
            GrantSummary(
                grant.name,
                tuple(sorted(grant.kinds)),
                tuple(rule.text for rule in grant.bind),
                tuple(rule.text for rule in grant.options),
            )
            for grant in grants
        )
        entries: list[tuple[str, tuple[int, ...]]] = []
        special = [name for name in ("@host", "@own") if any(grant.namespaces.covers(name) for grant in grants)]
        for number, name in enumerate(special + sorted(list_names() if grants else [])):
            if number % _NAMES_AT_ONCE == _NAMES_AT_ONCE - 1:
                yield None
            indices = tuple(index for index, grant in enumerate(grants) if grant.namespaces.covers(name))
            if indices and (name in special or self._sent.is_on_nsfs(identity(name))):
                entries.append((name, indices))
        self._audit.answered(peer, request_id, "namespaces")
        yield _seal(encode_namespaces(NamespaceList(summaries, tuple(entries))))


def _at(position: int, step: Callable[..., T], *arguments: object) -> T:
    """Call `step`; a namespace that it does not find is that of the socket at this position."""
    try:
        return step(*arguments)
    except NamespaceNotFoundError as error:
        error.position = position
        raise


def _seal(data: bytes) -> int:
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


def _refuse_os_error(errno: int, message: str, position: int | None) -> Refusal:
    if errno in DESCRIPTORS_USED_UP:
        return Refusal(OVERLOADED, "the broker has no descriptor left; try again", spec_index=position)
    return Refusal(OS_ERROR, message, errno, position)
