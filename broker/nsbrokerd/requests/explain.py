"""The operation `explain`: whether a client's grants allow a socket, and which rules they lack. It makes no socket."""

from __future__ import annotations

from collections.abc import Sequence

from nsbroker.wire import NO_SUCH_NAMESPACE, ExplainRequest, SocketSpec, encode_explanation

from ..namespaces.netns import HOST, NamespaceNotFoundError, identity
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy.explain import explain
from ..policy.plans import Refusal
from .audit import describe_spec, end_record
from .containers import Missing, check_namespace, container_names, names_of_sent, quota_for
from .operation import InForce, Operation, Outcome, Received, answer_blob, refuse_error
from .task import IsAnswerable, TaskQuota


class ExplainSocket(Operation[ExplainRequest]):
    """Answers about the client's own grants alone, by the same decision as `open`."""

    name = "explain"

    def __init__(self, in_force: InForce, sent: SentNamespaces) -> None:
        self._in_force = in_force
        self._sent = sent

    def specs_of(self, request: ExplainRequest) -> Sequence[SocketSpec]:
        """Return the socket that a request asks about."""
        return (request.socket,)

    def quota_of(self, received: Received[ExplainRequest]) -> TaskQuota:
        """Return what a request takes while an engine is asked."""
        return quota_for(self._containers(received), len(received.fds), len(received.packet))

    def _containers(self, received: Received[ExplainRequest]) -> list[str]:
        return container_names((received.request.socket.namespace,), self._in_force.policy)

    def serve(self, received: Received[ExplainRequest]) -> Outcome | None:
        """Decide, and look whether the namespace exists. Leave it to a task if an engine has to be asked for this."""
        return self._answer(received, None)

    async def serve_in_task(self, received: Received[ExplainRequest], is_answerable: IsAnswerable) -> Outcome | None:
        """Ask the engine. Its answer is not part of the decision."""
        if not await is_answerable():
            return None
        # The policy may have changed while the client did not read its replies, and while the engine was asked.
        names, finder = self._containers(received), self._in_force.finder
        if (answer := self._answer(received, None)) is not None or finder is None:
            return answer
        try:
            async with finder.found(names, received.person, is_answerable) as containers:
                if isinstance(containers, Missing) and not containers.can_come():
                    return self._answer(received, None) or containers.refuse((received.request.socket,))
                return self._answer(received, not isinstance(containers, Missing))
        except OSError as error:
            return refuse_error(error)

    def _answer(self, received: Received[ExplainRequest], runs: bool | None) -> Outcome | None:
        try:
            return self._explain(received, runs)
        except NamespaceNotFoundError as error:
            namespace = str(received.request.socket.namespace)
            return Refusal(NO_SUCH_NAMESPACE, str(error), spec_index=0, namespace=namespace)
        except OSError as error:
            return refuse_error(error)

    def _explain(self, received: Received[ExplainRequest], runs: bool | None) -> Outcome | None:
        """Explain, or return None if an engine has to be asked. `runs` is its answer, or None."""
        subject, request, policy = received.peer.subject, received.request, self._in_force.policy
        namespace = request.socket.namespace
        if isinstance(namespace, str) and namespace != HOST:
            check_namespace(namespace, policy)
        sent = {index: names_of_sent(self._sent, fd, subject.uid, policy) for index, fd in enumerate(received.fds)}
        answer = explain(request.socket, request.connect, policy, subject, sent)
        if isinstance(answer, Refusal):
            return answer
        if self._containers(received):
            # Only a client that could have the socket learns whether the container runs.
            if answer.by is not None and runs is None:
                return None
            answer = answer._replace(exists=answer.by is None or runs is not False)
        elif answer.grants and isinstance(namespace, str) and namespace != HOST:
            # Without a grant there, the answer must not depend on the namespace's existence.
            answer = answer._replace(exists=self._sent.is_on_nsfs(identity(namespace)))
        details: dict[str, object] = {
            "namespace": namespace if isinstance(namespace, str) else f"descriptor:{'='.join(sent[namespace])}",
            "socket": describe_spec(request.socket),
        }
        if request.connect is not None:
            details["connect"] = request.connect
        if answer.by is not None:
            details["grant"] = answer.grants[answer.by].name
        if answer.reason is not None:
            details["reason"] = answer.reason
        return answer_blob(request.request_id, encode_explanation(answer), [end_record(details)])
