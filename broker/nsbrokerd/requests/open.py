"""The operation `open`: makes all sockets of a request, or refuses it."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence

import trio

from nsbroker.wire import (
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    EnteredNamespace,
    OpenedSocket,
    OpenReply,
    OpenRequest,
    SocketSpec,
    make_record,
)

from ..clients.client import Person
from ..clients.peer import Peer
from ..namespaces.awaited_names import AwaitedNames
from ..namespaces.file_identity import Identity
from ..namespaces.netns import HOST, Gate, NamespaceName, NamespaceNotFoundError, check_name, identity, open_namespace
from ..namespaces.peer_group import peer_group
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy import Subject
from ..policy.plans import Plan, Refusal, plan, plan_in_steps
from ..sockets.batch import Opened, OpenError, OpenGroup
from ..sockets.slow_binds import TooManySlowError
from ..sockets.time_slice import Steps, TimeSlice, pace
from .audit import describe_in_steps, describe_opened
from .awaited_containers import AwaitedContainers
from .containers import Missing, check_namespace, container_names, names_of_sent, quota_for, refuse_number
from .operation import Answer, InForce, Operation, Outcome, Received, refuse_error, take_steps
from .plan_memory import PlanMemory
from .task import IsAnswerable, TaskQuota

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces.engines import Container  # loads only if an engine is switched on

MAX_WAITING_FOR_USER = 2
"""Requests of one user that may wait for a namespace at the same time. Each holds a task."""

_BYTES_OF_SOCKET = 48
"""Of a usual listener in a packet without groups."""

_NO_CONTAINERS: Mapping[str, Container] = {}


class OpenSockets(Operation[OpenRequest]):
    """Decides, makes the sockets, and describes them for the reply and for the audit."""

    name = "open"
    tasks_for_user = MAX_WAITING_FOR_USER

    def __init__(self, in_force: InForce, gate: Gate, sent: SentNamespaces, time_slice: TimeSlice) -> None:
        self._in_force = in_force
        self._gate = gate
        self._sent = sent
        self._time_slice = time_slice
        self._memory = PlanMemory(in_force.policy)
        self._awaited = AwaitedNames(self._find)
        self._awaited_containers = AwaitedContainers()

    def specs_of(self, request: OpenRequest) -> Sequence[SocketSpec]:
        """Return the sockets that a request asks for."""
        return request.sockets

    def serve(self, received: Received[OpenRequest]) -> Outcome | Steps[Outcome | None] | None:
        """Make the sockets, or return None if a namespace is missing and the request waits for it.

        Several sockets are made in steps. If a container is named, this only decides, and a task asks its engine.
        """
        if self._in_force.policy.engines and (names := self._containers(received.request)):
            return refuse_number(names) or self._decide(received)
        outcome = self._try(received)
        if isinstance(outcome, Generator):
            return self._or_wait(received, outcome) if received.request.wait_s else outcome
        return self._none_if_waiting(received, outcome)

    def quota_of(self, received: Received[OpenRequest]) -> TaskQuota:
        """Return what a request takes while an engine is asked, or while it waits."""
        names = self._containers(received.request)
        if not names:
            return super().quota_of(received)
        # A group of few bytes is as many sockets as a long packet of other specs, and takes as much memory. A stock
        # takes as many descriptors.
        sockets = max(len(received.request.sockets), received.request.stock)
        size = max(len(received.packet), _BYTES_OF_SOCKET * sockets)
        return quota_for(names, len(received.fds), size)

    def _containers(self, request: OpenRequest) -> list[str]:
        return container_names((spec.namespace for spec in request.sockets), self._in_force.policy)

    def _decide(self, received: Received[OpenRequest]) -> Steps[Outcome | None]:
        """Decide whether the policy allows a request, before an engine is asked. None means that it does."""
        try:
            names = self._check_namespaces(received)
        except (NamespaceNotFoundError, OSError) as error:
            return _refuse(error, received.request)
        policy = self._in_force.policy
        planning = plan_in_steps(received.request.sockets, policy, received.peer.subject, names)
        planned = yield from pace(planning, self._time_slice)
        return planned if isinstance(planned, Refusal) else None

    def _or_wait(self, received: Received[OpenRequest], steps: Steps[Outcome]) -> Steps[Outcome | None]:
        return self._none_if_waiting(received, (yield from steps))

    def _none_if_waiting(self, received: Received[OpenRequest], outcome: Outcome) -> Outcome | None:
        """Return None if the request waits for a namespace that can come to be."""
        request = received.request
        can_wait = request.wait_s and _is_namespace_missing(outcome) and all(map(_can_exist, _names(request)))
        return None if can_wait else outcome

    async def serve_in_task(self, received: Received[OpenRequest], is_answerable: IsAnswerable) -> Outcome | None:
        """Try again once all namespaces exist, or when the request's time is over.

        Until then, this plans nothing. A namespace can exist and still be missing for a request: it is of another type.
        Then the request waits for another namespace of this name.
        """
        deadline = trio.current_time() + received.request.wait_s
        tried: dict[str, Identity | None] = {}
        while not is_answerable.is_gone():
            found = {name: self._find(name) for name in self._entries(received.request)}
            missing = next((name for name in found if found[name] in (None, tried.get(name))), None)
            is_over = trio.current_time() >= deadline
            if missing is not None and not is_over:
                if refusal := is_answerable.move_to(super().quota_of(received)):
                    return refusal
                with is_answerable.asleep():
                    await self._awaited.wait(missing, tried.get(missing), deadline, is_answerable.is_gone)
                continue
            if not await is_answerable():
                break
            outcome, container = await self._try_in_task(received, is_answerable)
            if is_over or outcome is None or not _is_namespace_missing(outcome):
                return outcome
            if container is not None:
                if not container.can_come():
                    return outcome
                if refusal := is_answerable.move_to(super().quota_of(received)):
                    return refusal
                with is_answerable.asleep():
                    await self._awaited_containers.wait(container.name, deadline, is_answerable.is_gone)
            elif found:
                tried = found
            else:
                return outcome  # the container has ended meanwhile
        return None

    async def _try_in_task(
        self, received: Received[OpenRequest], is_answerable: IsAnswerable
    ) -> tuple[Outcome | None, Missing | None]:
        """Try once. Return the outcome (None: the client is gone), and the container that is missing."""
        names = self._containers(received.request)
        finder = self._in_force.finder
        if not names or finder is None:
            return await self._make(received, is_answerable, {}), None
        # The policy may have changed since the last try, and a client must not learn about containers without a grant.
        policy = self._in_force.policy
        refused = await take_steps(self._decide(received), self._time_slice)
        if refused is not None:
            return refused, None
        try:
            async with finder.found(names, received.person, is_answerable) as containers:
                if isinstance(containers, Missing):
                    if self._in_force.policy is not policy:
                        denied = await take_steps(self._decide(received), self._time_slice)
                        if denied is not None:
                            return denied, None
                    return containers.refuse(received.request.sockets), containers
                for name in names:
                    self._awaited_containers.found(name)
                return await self._make(received, is_answerable, containers), None
        except OSError as error:
            return refuse_error(error), None

    async def _make(
        self, received: Received[OpenRequest], is_answerable: IsAnswerable, containers: Mapping[str, Container]
    ) -> Outcome | None:
        """Plan a request by the policy in force, and make its sockets. Return None if the client is gone."""
        trying = self._try(received, containers)
        if not isinstance(trying, Generator):
            return trying
        outcome = await take_steps(trying, self._time_slice)
        if isinstance(outcome, Answer) and not await is_answerable():
            self._in_force.opener.discard(received.person, outcome.files)
            return None
        return outcome

    def _entries(self, request: OpenRequest) -> list[str]:
        """List the names of a request that are entries of /run/netns."""
        return [name for name in _names(request) if not self._in_force.policy.is_reserved(name)]

    def _find(self, name: str) -> Identity | None:
        """Return the identity of the namespace that has a legal name, or None."""
        found = identity(name)
        return found if self._sent.is_on_nsfs(found) else None

    def _try(
        self, received: Received[OpenRequest], containers: Mapping[str, Container] = _NO_CONTAINERS
    ) -> Outcome | Steps[Outcome]:
        peer, request, fds, packet, person = received
        if len(request.sockets) > 1 or request.stock:
            return self._open_in_steps(received, containers)
        policy = self._in_force.policy
        try:
            planned = plan(request.sockets, policy, peer.subject, self._check_namespaces(received))
        except (NamespaceNotFoundError, OSError) as error:
            return _refuse(error, request)
        if isinstance(planned, Refusal):
            return planned
        if self._memory.policy is policy and not containers:
            self._memory.remember(peer.subject, packet, request, planned)
        if self._in_force.opener.needs_steps(planned[0].sockets[0], person):
            return self._open_in_steps(received, containers)
        return self.open_planned(peer, person, request, planned, fds, containers)

    def _check_namespaces(self, received: Received[OpenRequest]) -> dict[int, list[str]]:
        """Check the names of a request's namespaces, and return the policy's names of those that were sent.

        Raises:
            NamespaceNotFoundError: no namespace can have the name. It has the position of the socket.
            OSError: a descriptor can't be asked.
        """
        policy = self._in_force.policy
        checked = {HOST}
        for position, spec in enumerate(received.request.sockets):
            namespace = spec.namespace
            if isinstance(namespace, str) and namespace not in checked:
                try:
                    check_namespace(namespace, policy)
                except NamespaceNotFoundError as error:
                    error.position = position
                    raise
                checked.add(namespace)
        uid = received.peer.subject.uid
        return {index: names_of_sent(self._sent, fd, uid, policy) for index, fd in enumerate(received.fds)}

    def open_planned(
        self,
        peer: Peer,
        person: Person,
        request: OpenRequest,
        planned: Plan,
        fds: Sequence[int] = (),
        containers: Mapping[str, Container] = _NO_CONTAINERS,
    ) -> Outcome:
        """Make the sockets of a plan at once, by the policy that is in force."""
        opened_fds: list[int] = []
        try:
            groups = self._open_namespaces(planned, fds, opened_fds, containers)
            opened = self._in_force.opener.open_sockets(groups, peer.subject.uid, peer.gid, person)
        except (NamespaceNotFoundError, OpenError, OSError) as error:
            return _refuse(error, request, planned)
        finally:
            for fd in opened_fds:
                os.close(fd)
        reply = _describe(request, opened)
        details = describe_opened(opened, containers, for_stock=request.stock > 0)
        return make_record(Answer, (reply, [one.sock for one in opened], details, None, opened))

    def _open_namespaces(
        self, planned: Plan, fds: Sequence[int], opened_fds: list[int], containers: Mapping[str, Container]
    ) -> list[OpenGroup]:
        """Open the namespaces of a plan, and add the descriptors to `opened_fds`, which the caller closes.

        The name of an engine that is switched on is never opened as an entry of /run/netns.

        Raises:
            NamespaceNotFoundError: one does not exist.
            OSError: no descriptor is left.
        """
        groups: list[OpenGroup] = []
        for namespace, _, to_make in planned:
            if isinstance(namespace, int):
                fd = fds[namespace]
            elif namespace == HOST:
                fd = self._gate.home_fd
            elif self._in_force.policy.engines and self._in_force.policy.is_reserved(namespace):
                if namespace not in containers:
                    raise _not_asked(namespace, to_make[0].position)
                fd = containers[namespace].fd
            else:
                try:
                    fd = open_namespace(NamespaceName(namespace))  # `_try` has checked the name
                except NamespaceNotFoundError as error:
                    error.position = to_make[0].position
                    raise
                opened_fds.append(fd)
            groups.append(make_record(OpenGroup, (fd, to_make)))
        return groups

    def _open_in_steps(
        self, received: Received[OpenRequest], containers: Mapping[str, Container] = _NO_CONTAINERS
    ) -> Steps[Outcome]:
        """Plan a request and make its sockets in steps. If the policy changes meanwhile, close all, and begin anew."""
        if self._time_slice.is_over():
            yield None
        while True:
            policy = self._in_force.policy
            try:
                names = self._check_namespaces(received)
            except (NamespaceNotFoundError, OSError) as error:
                return _refuse(error, received.request)
            planning = plan_in_steps(received.request.sockets, policy, received.peer.subject, names)
            planned = yield from pace(planning, self._time_slice)
            if isinstance(planned, Refusal):
                return planned
            if received.request.stock and self._memory.policy is policy and not containers:
                self._memory.remember(received.peer.subject, received.packet, received.request, planned)
            outcome = yield from self._open_planned_in_steps(received, planned, containers)
            if self._in_force.policy is policy or isinstance(outcome, Refusal):
                return outcome
            self._in_force.opener.discard(received.person, outcome.files)

    def open_recalled(self, received: Received[OpenRequest], planned: Plan) -> Steps[Outcome]:
        """Make the sockets of a request for a stock, by a plan of the policy that is in force now."""
        policy = self._in_force.policy
        outcome = yield from self._open_planned_in_steps(received, planned, _NO_CONTAINERS)
        if self._in_force.policy is policy or isinstance(outcome, Refusal):
            return outcome
        self._in_force.opener.discard(received.person, outcome.files)
        return (yield from self._open_in_steps(received))

    def _open_planned_in_steps(
        self, received: Received[OpenRequest], planned: Plan, containers: Mapping[str, Container]
    ) -> Steps[Outcome]:
        peer, request, fds, _, person = received
        if request.stock:
            planned = [group._replace(sockets=group.sockets * request.stock) for group in planned]
        opened_fds: list[int] = []
        try:
            groups = self._open_namespaces(planned, fds, opened_fds, containers)
            opener = self._in_force.opener
            opened = yield from opener.open_in_steps(groups, peer.subject.uid, peer.gid, person, self._time_slice)
        except TooManySlowError as error:
            return Refusal(OVERLOADED, str(error))
        except (NamespaceNotFoundError, OpenError, OSError) as error:
            return _refuse(error, request, planned)
        finally:
            for fd in opened_fds:
                os.close(fd)
        files = [one.sock for one in opened]
        try:
            reply = _describe(request, opened)
            describing = describe_in_steps(opened, containers, for_stock=request.stock > 0)
            details = yield from pace(describing, self._time_slice)
            if self._time_slice.is_over():
                yield None
        except BaseException:
            opener.discard(person, files)
            raise
        return Answer(reply, files, details, None, opened)

    def recall(self, subject: Subject, packet: bytes) -> tuple[OpenRequest, Plan] | None:
        """Return request and plan of a packet that differs from an earlier one of this subject at most in its id."""
        if self._memory.policy is not self._in_force.policy:
            self._memory = PlanMemory(self._in_force.policy)
        return self._memory.recall(subject, packet)


def _not_asked(name: str, position: int) -> NamespaceNotFoundError:
    """Return the error for a request that came before the engine of a container was switched on."""
    error = NamespaceNotFoundError(
        f"the engine of {name} was not asked, because it was switched on just now; try again"
    )
    error.position = position
    return error


def _describe(request: OpenRequest, opened: Sequence[Opened]) -> OpenReply:
    """Describe the sockets for the client. Each namespace is listed once, whatever names the request has for it."""
    index_of: dict[EnteredNamespace, int] = {}
    is_grouped = request.is_grouped
    sockets = []
    last: EnteredNamespace | None = None
    index = 0
    for _, _, cookie, namespace, address in opened:
        if namespace is not last:  # mostly it is the same object
            index, last = index_of.setdefault(namespace, len(index_of)), namespace
        sockets.append(make_record(OpenedSocket, (cookie, None if is_grouped else address, index)))
    group = peer_group() if request.stock else None
    return make_record(OpenReply, (request.request_id, tuple(index_of), tuple(sockets), group, is_grouped))


def _names(request: OpenRequest) -> list[str]:
    """List the names of namespaces that may not exist."""
    names = [spec.namespace for spec in request.sockets if isinstance(spec.namespace, str)]
    return [name for name in dict.fromkeys(names) if name != HOST]


def _can_exist(name: str) -> bool:
    try:
        check_name(name)
    except NamespaceNotFoundError:
        return False
    return True


def _is_namespace_missing(outcome: Outcome) -> bool:
    return isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE


def _refuse(
    error: NamespaceNotFoundError | OpenError | OSError, request: OpenRequest, planned: Plan | None = None
) -> Refusal:
    if isinstance(error, NamespaceNotFoundError):
        return _refuse_missing(error, request, error.position or 0)
    if isinstance(error, OpenError):
        return _refuse_socket(error, planned or [])
    return refuse_error(error)


def _refuse_missing(error: NamespaceNotFoundError, request: OpenRequest, position: int) -> Refusal:
    return Refusal(NO_SUCH_NAMESPACE, str(error), None, position, str(request.sockets[position].namespace))


def _refuse_socket(error: OpenError, planned: Plan) -> Refusal:
    """Refuse a request because of a socket. The audit gets its namespace and its grant."""
    at = error.position
    failed = next(one for group in planned for one in group.sockets if one.position == at)
    return refuse_error(error.error, at)._replace(namespace=failed.label, grant=failed.grant.name)
