"""The operation `explain`: whether a client's grants allow a socket, and which rules they lack. It makes no socket."""

from __future__ import annotations

from collections.abc import Sequence

from nsbroker.wire import NO_SUCH_NAMESPACE, ExplainRequest, SocketSpec, encode_explanation

from ..namespaces.netns import HOST, NamespaceNotFoundError, check_name, identity
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy.explain import explain
from ..policy.plans import Refusal
from .audit import describe_spec, end_record
from .operation import InForce, Operation, Outcome, Received, make_blob, refuse_error


class ExplainSocket(Operation[ExplainRequest]):
    """Answers about the client's own grants alone, by the same decision as `open`."""

    name = "explain"

    def __init__(self, in_force: InForce, sent: SentNamespaces) -> None:
        self._in_force = in_force
        self._sent = sent

    def specs_of(self, request: ExplainRequest) -> Sequence[SocketSpec]:
        """Return the socket that a request asks about."""
        return (request.socket,)

    def serve(self, received: Received[ExplainRequest]) -> Outcome:
        """Decide, and look whether the namespace exists."""
        try:
            return self._explain(received)
        except NamespaceNotFoundError as error:
            namespace = str(received.request.socket.namespace)
            return Refusal(NO_SUCH_NAMESPACE, str(error), spec_index=0, namespace=namespace)
        except OSError as error:
            return refuse_error(error)

    def _explain(self, received: Received[ExplainRequest]) -> Outcome:
        subject, request = received.peer.subject, received.request
        namespace = request.socket.namespace
        if isinstance(namespace, str) and namespace != HOST:
            check_name(namespace)
        sent = {index: self._sent.names_of(fd, subject.uid) for index, fd in enumerate(received.fds)}
        answer = explain(request.socket, request.connect, self._in_force.policy, subject, sent)
        if isinstance(answer, Refusal):
            return answer
        if answer.grants and isinstance(namespace, str) and namespace != HOST:
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
        return make_blob(request.request_id, encode_explanation(answer), [end_record(details)])
