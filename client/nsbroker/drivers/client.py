"""`Client`: asks the broker for sockets, and waits for the answer in the thread that asks."""

from __future__ import annotations

import os
import socket

from ..link.asking import list_namespaces, open_sockets, plain_socket, read_resolver_files
from ..link.retry import DEFAULT_PATH, DEFAULT_TIMEOUT_S, Reach
from ..link.waiting import run
from ..wire.messages import NamespaceList, NamespaceRef, ResolverFiles, SocketSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self, TypeVar

    S = TypeVar("S", bound=socket.SocketType)


class Client:
    """A way to one broker, for any number of threads and across forks.

    Args:
        path: the broker's socket; else $NSBROKER_SOCKET, else /run/nsbroker/nsbroker.sock.
        timeout: seconds after which a call gives up with `BrokerUnavailableError`.
    """

    def __init__(self, path: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> None:
        self.reach = Reach(path, timeout)

    @property
    def path(self) -> str:
        """The broker's socket."""
        return self.reach.path

    @property
    def timeout(self) -> float:
        """Seconds after which a call gives up."""
        return self.reach.timeout_s

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self.reach.timeout_s = seconds

    def open(self, specs: Iterable[SocketSpec], wait: float = 0) -> list[socket.socket]:
        """Open sockets, all or none, one round trip for each 253.

        A namespace that is an int is a descriptor of a namespace that the caller has open; one with a "/" is a path
        that is opened here, with the caller's rights.

        Args:
            specs: what each socket shall be.
            wait: seconds, up to 60, to wait for namespaces that do not exist yet; they come on top of the timeout.

        Raises:
            NamespaceNotFoundError, AccessDeniedError: the broker refuses; `index` says which spec.
            BrokerUnavailableError: it can't be reached, does not answer, or is overloaded.
            OSError: as socket(2), bind(2), listen(2) or setsockopt(2) failed; `index` says for which spec.
        """
        return run(open_sockets(self.reach, plain_socket, specs, wait))

    def open_as(self, take_fd: Callable[[SocketSpec, int], S], specs: Iterable[SocketSpec], wait: float = 0) -> list[S]:
        """Open sockets as `open` does, made by `take_fd(spec, fd)`, which then owns the descriptor."""
        return run(open_sockets(self.reach, take_fd, specs, wait))

    def namespaces(self) -> NamespaceList:
        """Ask which namespaces this user may use, and what it may do there.

        Raises:
            BrokerUnavailableError: the broker can't be reached or does not answer.
        """
        return run(list_namespaces(self.reach))

    def resolver_files(self, namespace: NamespaceRef) -> ResolverFiles:
        """Ask for the resolv.conf and hosts by which names are looked up in a namespace.

        Raises:
            NamespaceNotFoundError, AccessDeniedError: the broker refuses.
            BrokerUnavailableError: it can't be reached or does not answer.
        """
        return run(read_resolver_files(self.reach, namespace))

    def close(self) -> None:
        """Close the idle connections. The client can still be used: it connects anew."""
        self.reach.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<nsbroker.Client {self.path!r}>"


_shared: dict[tuple[str, float], Client] = {}


def shared_client(path: str | None, timeout: float) -> Client:
    """Give the client that everything in this process shares which asks for the same broker."""
    resolved = path or os.environ.get("NSBROKER_SOCKET") or DEFAULT_PATH
    # setdefault is atomic: two threads that come first get the same one.
    return _shared.get((resolved, timeout)) or _shared.setdefault((resolved, timeout), Client(resolved, timeout))
