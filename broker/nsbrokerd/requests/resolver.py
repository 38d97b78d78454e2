"""The operation `resolver`: the files by which host names are looked up in a namespace."""

from __future__ import annotations

from collections.abc import Generator
from struct import Struct

from msgpack import Packer

from nsbroker.wire import DENIED, NO_SUCH_NAMESPACE, OVERLOADED, BlobReply, ResolverFiles, ResolverRequest

from ..namespaces.netns import HOST, NamespaceNotFoundError, identity
from ..namespaces.resolver_files import read_in_steps
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy import Allow, Deny
from ..policy.plans import Refusal
from ..sockets.time_slice import Steps, TimeSlice, pace
from .answers import MAX_ANSWER_BYTES, Answers, TooMuchHeldError
from .audit import end_record
from .containers import Missing, check_namespace, container_names, names_of_sent, quota_for
from .operation import (
    Answer,
    InForce,
    Operation,
    Outcome,
    Received,
    refuse_error,
    refuse_size,
    take_steps,
)
from .task import IsAnswerable, TaskQuota

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces.engines import Container  # loads only if an engine is switched on

_PART_LENGTH = 2**16
"""Of a text in characters: a longer one is encoded in parts."""

_STR_32, _STR_32_TYPE = Struct(">BI"), 0xDB
"""The head of a text with more than 65,535 bytes. Source: the specification of msgpack."""


class ReadResolverFiles(Operation[ResolverRequest]):
    """Hands out the texts of the files to a client that may have some kind of IP socket in the namespace."""

    name = "resolver"

    def __init__(self, in_force: InForce, sent: SentNamespaces, time_slice: TimeSlice, answers: Answers) -> None:
        self._in_force = in_force
        self._sent = sent
        self._time_slice = time_slice
        self._answers = answers

    def quota_of(self, received: Received[ResolverRequest]) -> TaskQuota:
        """Return what a request takes while an engine is asked."""
        return quota_for(self._containers(received), len(received.fds), len(received.packet))

    def _containers(self, received: Received[ResolverRequest]) -> list[str]:
        return container_names((received.request.namespace,), self._in_force.policy)

    def serve(self, received: Received[ResolverRequest]) -> Outcome | Steps[Outcome | None]:
        """Read the files in steps. If they are a container's, this only decides, and a task asks its engine."""
        return self._decide(received) if self._containers(received) else self._serve(received, None)

    def _decide(self, received: Received[ResolverRequest]) -> Steps[Outcome | None]:
        """Decide before an engine is asked. None means that the client may have the files."""
        try:
            allowed = self._allow(received)
        except (NamespaceNotFoundError, OSError) as error:
            return _refuse(error, received)
        yield from ()
        return allowed if isinstance(allowed, Refusal) else None

    async def serve_in_task(self, received: Received[ResolverRequest], is_answerable: IsAnswerable) -> Outcome | None:
        """Ask the engine, and hand out the container's own files, or the system's if it has none to trust."""
        if not await is_answerable():
            return None
        # The policy may have changed while the client did not read its replies, and while the engine was asked.
        names, finder = self._containers(received), self._in_force.finder
        if not names or finder is None:
            return await take_steps(self._serve(received, None), self._time_slice)
        if (refused := await take_steps(self._decide(received), self._time_slice)) is not None:
            return refused
        try:
            async with finder.found(names, received.person, is_answerable, with_files=True) as containers:
                if isinstance(containers, Missing):
                    return await take_steps(self._decide(received), self._time_slice) or containers.refuse()
                return await take_steps(self._serve(received, containers[names[0]]), self._time_slice)
        except OSError as error:
            return refuse_error(error)

    def _serve(self, received: Received[ResolverRequest], container: Container | None) -> Steps[Outcome]:
        """Read the files in steps. If the policy changes meanwhile, read them anew."""
        while True:
            policy = self._in_force.policy
            outcome = yield from self._answer(received, container)
            if self._in_force.policy is policy or isinstance(outcome, Refusal):
                return outcome
            for file in outcome.files:
                file.close()

    def _answer(self, received: Received[ResolverRequest], container: Container | None) -> Steps[Outcome]:
        try:
            return (yield from self._read(received, container))
        except (NamespaceNotFoundError, OSError) as error:
            return _refuse(error, received)

    def _allow(self, received: Received[ResolverRequest]) -> tuple[Allow, list[str]] | Refusal:
        """Return the grant and all names of the namespace, or a refusal.

        Raises:
            NamespaceNotFoundError: no namespace can have the name.
            OSError: the descriptor can't be asked.
        """
        subject, namespace, policy = received.peer.subject, received.request.namespace, self._in_force.policy
        if isinstance(namespace, int):
            names = names_of_sent(self._sent, received.fds[namespace], subject.uid, policy)
        else:
            if namespace != HOST:
                check_namespace(namespace, policy)
            names = [namespace]
        decision = policy.decide_lookup(subject, names)
        if isinstance(decision, Deny):
            return Refusal(DENIED, decision.reason, namespace="=".join(names))
        return decision, names

    def _read(self, received: Received[ResolverRequest], container: Container | None) -> Steps[Outcome]:
        allowed = self._allow(received)
        if isinstance(allowed, Refusal):
            return allowed
        (grant, _), names = allowed
        namespace = received.request.namespace
        fields: dict[str, object] = {"namespace": "=".join(names), "grant": grant.name}
        covered = filter(grant.namespaces.covers_entry, names)
        if self._containers(received):
            if container is None:
                raise NamespaceNotFoundError(f"the engine of {namespace} was switched on just now; try again")
            fields["container"] = container.id
        elif isinstance(namespace, str) and namespace != HOST and not self._sent.is_on_nsfs(identity(namespace)):
            raise NamespaceNotFoundError(f"there is no network namespace {namespace!r}")
        files = yield from pace(read_in_steps(covered), self._time_slice)
        if container is not None and self._containers(received):
            files = _with_own_files(files, container)
        parts = yield from pace(encode_in_steps(files), self._time_slice)
        size = sum(map(len, parts))
        if size > MAX_ANSWER_BYTES:
            return refuse_size(size)
        try:
            file = yield from pace(self._answers.open_in_steps(received.person, parts), self._time_slice)
        except TooMuchHeldError as error:
            return Refusal(OVERLOADED, str(error))
        return Answer(BlobReply(received.request.request_id, size), (file,), [end_record(fields)])


def _with_own_files(files: ResolverFiles, container: Container) -> ResolverFiles:
    """Return the container's own texts in place of the system's, where it has some."""
    if container.resolv_conf is not None:
        files = files._replace(resolv_conf=container.resolv_conf, origin=f"{container.name}:/etc/resolv.conf")
    return files if container.hosts is None else files._replace(hosts=container.hosts)


def _refuse(error: NamespaceNotFoundError | OSError, received: Received[ResolverRequest]) -> Refusal:
    if isinstance(error, NamespaceNotFoundError):
        return Refusal(NO_SUCH_NAMESPACE, str(error), namespace=str(received.request.namespace))
    return refuse_error(error)


def encode_in_steps(files: ResolverFiles) -> Generator[None, None, list[bytes]]:
    """Encode an answer in parts, as `encode_resolver_files` does it at once. Yield after each part of a long text."""
    packer = Packer()
    parts: list[bytes] = [packer.pack_map_header(4 if files.files else 3)]
    texts = {"resolv_conf": files.resolv_conf, "hosts": files.hosts, "origin": files.origin}
    for key, text in texts.items():
        parts += [packer.pack(key), *(yield from _encode_text(packer, text))]
    if files.files:
        parts += [packer.pack("files"), packer.pack_map_header(len(files.files))]
        for key, text in files.files.items():
            parts += [packer.pack(key), *(yield from _encode_text(packer, text))]
    return parts


def _encode_text(packer: Packer, text: str) -> Generator[None, None, list[bytes]]:
    if len(text) <= _PART_LENGTH:
        return [packer.pack(text)]
    parts = []
    for start in range(0, len(text), _PART_LENGTH):
        parts.append(text[start : start + _PART_LENGTH].encode())
        yield
    return [_STR_32.pack(_STR_32_TYPE, sum(map(len, parts))), *parts]
