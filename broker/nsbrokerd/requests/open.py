"""The operation `open`: makes all sockets of a request, or refuses it.

Most clients request one socket at a time, and the same one again and again: a proxy's connections, a monitor's probes.
Decoding and planning a request takes half as long as making its socket. So the broker remembers the plan of a request
by the bytes of its packet.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import trio

from nsbroker.wire import (
    MAX_REQUEST_ID,
    NO_SUCH_NAMESPACE,
    EnteredNamespace,
    OpenedSocket,
    OpenReply,
    OpenRequest,
    SocketSpec,
)

from ..clients.peer import Peer
from ..namespaces.mounts import MountChanges
from ..namespaces.netns import HOST, Gate, NamespaceName, NamespaceNotFoundError, check_name, open_namespace
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy import Policy, Subject
from ..policy.plans import Plan, Refusal, plan
from ..sockets.opener import Opened, OpenError, OpenGroup
from .audit import describe_opened
from .operation import Answer, InForce, IsAnswerable, Operation, Outcome, Received, refuse_error

MAX_WAITING_FOR_USER = 2
"""Requests of one user that may wait for a namespace at the same time. Each holds a task."""

_RETRY_S = 0.25
"""A waiting request tries again after this time even without a mount: a symbolic link or a directory is no mount."""

_MAX_REMEMBERED = 16384
"""More than a large host has namespaces, so that a client that visits all of them in turn finds them here."""
_MAX_REMEMBERED_SUBJECTS = 1024
"""A user with subordinate ids can choose its groups, 256 at once, so that it appears as many subjects."""
_MAX_REMEMBERED_BYTES = 256
_MAX_REMEMBERED_OPTIONS = 4

_HEAD = b"\x84\xa1v\x01\xa2id"
"""The beginning of a map of four keys, {"v": 1, "id": ...}, as the client library writes it."""

_ONE_BYTE_MAX = 0x7F
_INTEGERS = {0xCC: (1, _ONE_BYTE_MAX), 0xCD: (2, 2**8 - 1), 0xCE: (4, 2**16 - 1), 0xCF: (8, 2**32 - 1)}
"""By the first byte of an unsigned integer in msgpack: its further bytes, and the largest number for a shorter one."""

Known = tuple[tuple[SocketSpec, ...], Plan]
"""The sockets of a request that was received before, and their plan."""


class OpenSockets(Operation[OpenRequest]):
    """Decides, makes the sockets, and describes them for the reply and for the audit."""

    name = "open"
    tasks_for_user = MAX_WAITING_FOR_USER

    def __init__(self, in_force: InForce, gate: Gate, sent: SentNamespaces) -> None:
        self._in_force = in_force
        self._gate = gate
        self._sent = sent
        self._memory = PlanMemory(in_force.policy)

    def specs_of(self, request: OpenRequest) -> Sequence[SocketSpec]:
        """Return the sockets that a request asks for."""
        return request.sockets

    def serve(self, received: Received[OpenRequest]) -> Outcome | None:
        """Make the sockets, or return None if a namespace is missing and the request waits for it."""
        outcome = self._try(received)
        return None if received.request.wait_s and _is_namespace_missing(outcome) else outcome

    async def serve_in_task(self, received: Received[OpenRequest], is_answerable: IsAnswerable) -> Outcome | None:
        """Try again after each mount, until the namespaces exist or the request's time is over."""
        deadline = trio.current_time() + received.request.wait_s
        changes = MountChanges()
        try:
            while await is_answerable():
                outcome = self._try(received)
                if not _is_namespace_missing(outcome) or trio.current_time() >= deadline:
                    return outcome
                with trio.move_on_at(min(deadline, trio.current_time() + _RETRY_S)):
                    await trio.lowlevel.wait_readable(changes.fd)
                changes.happened()
        finally:
            changes.close()
        return None

    def _try(self, received: Received[OpenRequest]) -> Outcome:
        peer, request, fds, packet = received
        policy, specs = self._in_force.policy, request.sockets
        for position, spec in enumerate(specs):
            if isinstance(spec.namespace, str) and spec.namespace != HOST:
                try:
                    check_name(spec.namespace)
                except NamespaceNotFoundError as error:
                    return _refuse_missing(error, request, position)
        try:
            names = {index: self._sent.names_of(fd, peer.subject.uid) for index, fd in enumerate(fds)}
        except OSError as error:
            return refuse_error(error)
        planned = plan(specs, policy, peer.subject, names)
        if isinstance(planned, Refusal):
            return planned
        if self._memory.policy is policy:
            self._memory.remember(peer.subject, packet, request, planned)
        return self.open_planned(peer, request, planned, fds)

    def open_planned(self, peer: Peer, request: OpenRequest, planned: Plan, fds: Sequence[int] = ()) -> Outcome:
        """Make the sockets of a plan by the policy that is in force."""
        groups: list[OpenGroup] = []
        opened_fds: list[int] = []
        try:
            for namespace, _, to_make in planned:
                if isinstance(namespace, int):
                    fd = fds[namespace]
                elif namespace == HOST:
                    fd = self._gate.home_fd
                else:
                    fd = open_namespace(NamespaceName(namespace))  # `_try` has checked the name
                    opened_fds.append(fd)
                groups.append(OpenGroup(fd, to_make))
            opened = self._in_force.opener.open_sockets(groups, peer.subject.uid, peer.gid)
        except NamespaceNotFoundError as error:
            at = planned[len(groups)].sockets[0].position if error.position is None else error.position
            return _refuse_missing(error, request, at)
        except OpenError as error:
            return _refuse_socket(error, planned)
        except OSError as error:
            return refuse_error(error)
        finally:
            for fd in opened_fds:
                os.close(fd)
        reply = _describe(request.request_id, opened)
        return Answer(reply, [one.sock for one in opened], describe_opened(opened))

    def recall(self, subject: Subject, packet: bytes) -> tuple[OpenRequest, Plan] | None:
        """Return request and plan of a packet that differs from an earlier one of this subject at most in its id."""
        if self._memory.policy is not self._in_force.policy:
            self._memory = PlanMemory(self._in_force.policy)
        return self._memory.recall(subject, packet)


def _describe(request_id: int, opened: Sequence[Opened]) -> OpenReply:
    """Describe the sockets for the client. Each namespace is listed once, whatever names the request has for it."""
    index_of: dict[EnteredNamespace, int] = {}
    sockets = [
        OpenedSocket(one.cookie, one.address, index_of.setdefault(one.namespace, len(index_of))) for one in opened
    ]
    return OpenReply(request_id, tuple(index_of), tuple(sockets))


def _is_namespace_missing(outcome: Outcome) -> bool:
    return isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE


def _refuse_missing(error: NamespaceNotFoundError, request: OpenRequest, position: int) -> Refusal:
    return Refusal(NO_SUCH_NAMESPACE, str(error), None, position, str(request.sockets[position].namespace))


def _refuse_socket(error: OpenError, planned: Plan) -> Refusal:
    """Refuse a request because of a socket. The audit gets its namespace and its grant."""
    at = error.position
    failed = next(one for group in planned for one in group.sockets if one.position == at)
    return refuse_error(error.error, at)._replace(namespace=failed.label, grant=failed.grant.name)


class PlanMemory:
    """The plans of requests that came before, by one policy. Pure.

    It remembers requests for one socket that is not bound, has few options, and is in a namespace with a name. Such a
    request takes at most 3 KB of memory, and usually 1 KB.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._known: dict[Subject, dict[bytes, Known]] = {}
        self._count = 0

    def recall(self, subject: Subject, packet: bytes) -> tuple[OpenRequest, Plan] | None:
        """Return the request of a packet and its plan if it is known."""
        known = self._known.get(subject)
        if known is None or (split := _split(packet)) is None:
            return None
        request_id, body = split
        # An earlier packet with the same head and the same body was one correct map, so this packet is one as well.
        found = known.get(body)
        return None if found is None else (OpenRequest(request_id, found[0]), found[1])

    def remember(self, subject: Subject, packet: bytes, request: OpenRequest, planned: Plan) -> None:
        """Remember the plan of a packet, if it is a common one."""
        if not _is_common(request) or (split := _split(packet)) is None:
            return
        if self._count >= _MAX_REMEMBERED or len(self._known) >= _MAX_REMEMBERED_SUBJECTS:
            self._known.clear()
            self._count = 0
        self._known.setdefault(subject, {})[split[1]] = request.sockets, planned
        self._count += 1


def _is_common(request: OpenRequest) -> bool:
    spec, *more = request.sockets
    return (
        not (more or request.wait_s)
        and isinstance(spec.namespace, str)
        and spec.bind is None
        and len(spec.options) <= _MAX_REMEMBERED_OPTIONS
    )


def _split(packet: bytes) -> tuple[int, bytes] | None:
    """Return a packet's id and the bytes after it, if the packet begins in the usual way."""
    if len(packet) > _MAX_REMEMBERED_BYTES or not packet.startswith(_HEAD) or len(packet) == len(_HEAD):
        return None
    start = len(_HEAD) + 1
    number = packet[start - 1]
    if number > _ONE_BYTE_MAX:
        length, too_small = _INTEGERS.get(number, (0, MAX_REQUEST_ID))
        start += length
        number = int.from_bytes(packet[start - length : start], "big")
        if not too_small < number <= MAX_REQUEST_ID:
            return None
    return number, packet[start:]
