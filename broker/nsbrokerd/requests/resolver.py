"""The operation `resolver`: the files by which host names are looked up in a namespace."""

from __future__ import annotations

from nsbroker.wire import DENIED, NO_SUCH_NAMESPACE, ResolverRequest, encode_resolver_files

from ..namespaces.netns import HOST, NamespaceNotFoundError, check_name, identity
from ..namespaces.resolver_files import read_resolver_files
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy import Deny
from ..policy.plans import Refusal
from .audit import end_record
from .operation import InForce, Operation, Outcome, Received, make_blob, refuse_error


class ReadResolverFiles(Operation[ResolverRequest]):
    """Hands out the texts of the files to a client that may have some kind of IP socket in the namespace."""

    name = "resolver"

    def __init__(self, in_force: InForce, sent: SentNamespaces) -> None:
        self._in_force = in_force
        self._sent = sent

    def serve(self, received: Received[ResolverRequest]) -> Outcome:
        """Read the files."""
        try:
            return self._read(received)
        except NamespaceNotFoundError as error:
            return Refusal(NO_SUCH_NAMESPACE, str(error), namespace=str(received.request.namespace))
        except OSError as error:
            return refuse_error(error)

    def _read(self, received: Received[ResolverRequest]) -> Outcome:
        subject, namespace = received.peer.subject, received.request.namespace
        if isinstance(namespace, int):
            names = self._sent.names_of(received.fds[namespace], subject.uid)
        else:
            names = [namespace if namespace == HOST else check_name(namespace)]
        label = "=".join(names)
        decision = self._in_force.policy.decide_lookup(subject, names)
        if isinstance(decision, Deny):
            return Refusal(DENIED, decision.reason, namespace=label)
        if isinstance(namespace, str) and namespace != HOST and not self._sent.is_on_nsfs(identity(namespace)):
            raise NamespaceNotFoundError(f"there is no network namespace {namespace!r}")
        files = read_resolver_files(filter(decision.grant.namespaces.covers, names))
        details = [end_record({"namespace": label, "grant": decision.grant.name})]
        return make_blob(received.request.request_id, encode_resolver_files(files), details)
