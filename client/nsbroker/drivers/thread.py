"""The driver for programs that block: `run`, and `Client`, which asks the broker from the calling thread."""

from __future__ import annotations

import os
import select
import socket
from math import inf
from time import monotonic, sleep

from ..link.broker import DEFAULT_PATH, DEFAULT_TIMEOUT_S, Broker, check_stock, plain_socket
from ..place.binding import open_sockets
from ..wire.messages import Address, Explanation, NamespaceList, NamespaceRef, ResolverFiles, SocketSpec

_LONGEST_POLL_S = 1e6
"""poll(2) takes milliseconds as an int."""
_PATIENCE_S = 1.0
"""A wait that takes longer is a long one."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self, TypeVar

    from ..link.waiting import Sockets, Waiting

    S = TypeVar("S", bound=socket.SocketType)
    T = TypeVar("T")


def run(coroutine: Waiting[T], on_long_wait: Callable[[], object] | None = None) -> T:
    """Run code to its end in this thread, which blocks during the waits. Return its result.

    Args:
        coroutine: the code.
        on_long_wait: called once if the code waits for more than a second in all.
    """
    patient_until = monotonic() + _PATIENCE_S if on_long_wait else inf
    try:
        deadline, sockets = coroutine.send(None)
        while True:
            ready = _poll(min(deadline, patient_until), sockets)
            if on_long_wait and not ready and monotonic() >= patient_until:
                on_long_wait()
                patient_until = inf
                ready = _poll(deadline, sockets)
            deadline, sockets = coroutine.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
    except BaseException:
        coroutine.close()
        raise


def _poll(deadline: float, sockets: Sockets) -> Sockets:
    left_s = deadline - monotonic()
    if not sockets:
        sleep(max(0, min(left_s, _LONGEST_POLL_S)))
        return ()
    timeout_ms = min(left_s, _LONGEST_POLL_S) * 1000 if left_s > 0 else 0
    poll = select.poll()
    if len(sockets) == 1:  # a request to the broker
        poll.register(*sockets[0])
        return sockets if poll.poll(timeout_ms) else ()
    for sock, event in sockets:
        poll.register(sock.fileno(), event)
    ready = poll.poll(timeout_ms)
    if len(ready) == len(sockets):
        return sockets
    numbers = {number for number, _ in ready}
    return tuple(pair for pair in sockets if pair[0].fileno() in numbers)


class Client:
    """Asks one broker for sockets. Any number of threads can use a client, also after a fork.

    Args:
        path: the broker's socket. Default: $NSBROKER_SOCKET, then /run/nsbroker/nsbroker.sock.
        timeout: seconds after which a call gives up with `BrokerUnavailableError` (default: 5).
        stock: as for `Namespace`, for calls of `open` with one spec. A namespace with this client has its own `stock`.

    Attributes:
        stock: the size of the stock.
        on_long_wait: called once in each call that waits for more than a second, for example to show a line.

    Raises:
        ValueError: the timeout is not more than 0, or the stock is out of range.

    Example:
        >>> import socket
        >>> import nsbroker
        >>> with nsbroker.Client(timeout=2) as client:
        ...     [sock] = client.open([nsbroker.SocketSpec("blue", socket.AF_INET, socket.SOCK_DGRAM)])
        >>> sock.type == socket.SOCK_DGRAM
        True
        >>> sock.close()
    """

    def __init__(self, path: str | None = None, timeout: float = DEFAULT_TIMEOUT_S, *, stock: int = 0) -> None:
        self.broker = Broker(path, timeout)
        self.stock = check_stock(stock)
        self.on_long_wait: Callable[[], object] | None = None

    @property
    def path(self) -> str:
        """The broker's socket."""
        return self.broker.path

    @property
    def timeout(self) -> float:
        """Seconds after which a call gives up."""
        return self.broker.timeout_s

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self.broker.timeout_s = seconds

    def open(self, specs: Iterable[SocketSpec], wait: float = 0) -> list[socket.socket]:
        """Open sockets, all or none. Each 253 sockets take one round trip.

        Args:
            specs: one `SocketSpec` for each socket. An address to bind to can have the name of a host, or of an
                interface, as in "fe80::1%eth0". Both are looked up in the namespace. Of a host, the first address of
                the family counts.
            wait: seconds, up to 60, to wait for namespaces, and for addresses to bind to, that do not exist yet. They
                come on top of the timeout.

        Returns:
            The sockets in the order of the specs. You own them.

        Raises:
            NamespaceNotFoundError, AccessDeniedError: the broker refuses. `index` is the index of the spec at fault.
            BrokerUnavailableError: the broker can't be reached, does not answer, or is overloaded.
            BrokerProtocolError: the broker speaks another version of the protocol.
            WrongNamespaceError: a socket arrived that differs from the broker's description.
            OSError: socket(2), setsockopt(2), bind(2) or listen(2) failed, or a name is not found (`socket.gaierror`).
                `index` is the index of the spec.
            ValueError: a spec is not valid, or `wait` is not in 0..60.

        Example:
            >>> from socket import AF_INET, SOCK_STREAM
            >>> from nsbroker import Client, SocketSpec
            >>> specs = [SocketSpec(name, AF_INET, SOCK_STREAM) for name in ("blue", "@host")]
            >>> for sock in Client().open(specs, wait=1):
            ...     sock.close()
        """
        return run(open_sockets(self.broker, plain_socket, specs, wait, self.stock), self.on_long_wait)

    def open_as(self, take_fd: Callable[[SocketSpec, int], S], specs: Iterable[SocketSpec], wait: float = 0) -> list[S]:
        """Open sockets of a class of your own, as `open` does otherwise.

        Args:
            take_fd: called as `take_fd(spec, fd)` for each socket. It returns the socket, which owns the descriptor.
            specs: as for `open`.
            wait: seconds, as for `open`.

        Returns:
            The results of `take_fd`, in the order of the specs.

        Raises:
            OSError: as `open`.

        Example:
            >>> import socket
            >>> import nsbroker
            >>> class MySocket(socket.socket):
            ...     pass
            >>> def make(spec, fd):
            ...     return MySocket(spec.family, spec.type, spec.proto, fd)
            >>> spec = nsbroker.SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM)
            >>> [sock] = nsbroker.Client().open_as(make, [spec])
            >>> type(sock).__name__
            'MySocket'
            >>> sock.close()
        """
        return run(open_sockets(self.broker, take_fd, specs, wait, self.stock), self.on_long_wait)

    def namespaces(self) -> NamespaceList:
        """Ask which namespaces this user may use, and which sockets the user may have there.

        Returns:
            The user's `grants`, and `namespaces` as (name, indices into the grants).

        Raises:
            BrokerUnavailableError: the broker can't be reached or does not answer.

        Example:
            >>> import nsbroker
            >>> answer = nsbroker.Client().namespaces()
            >>> for name, indices in answer.namespaces:
            ...     for index in indices:
            ...         sockets = answer.grants[index].sockets  # for example ("tcp", "udp")
        """
        return run(self.broker.list_namespaces(), self.on_long_wait)

    def resolver_files(self, namespace: NamespaceRef) -> ResolverFiles:
        """Ask for the files by which names are looked up in a namespace.

        Args:
            namespace: as in `SocketSpec`.

        Returns:
            The texts of two files as `resolv_conf` and `hosts`, the path of the resolv.conf as `origin`, and the texts
            of further files by name, such as "gai.conf", as `files`.

        Raises:
            NamespaceNotFoundError, AccessDeniedError: the broker refuses.
            BrokerUnavailableError: the broker can't be reached or does not answer.

        Example:
            >>> import nsbroker
            >>> "nameserver" in nsbroker.Client().resolver_files("blue").resolv_conf
            True
        """
        return run(self.broker.read_resolver_files(namespace), self.on_long_wait)

    def explain(self, spec: SocketSpec, connect: Address | None = None) -> Explanation:
        """Ask whether this user may have a socket, by which grant, and which rules the other grants lack.

        The broker decides as for `open`, and makes no socket.

        Args:
            spec: the socket.
            connect: a numeric address of the spec's family, to which you would connect the socket.

        Returns:
            The explanation. Its `reason` is `None` if the socket and the connection are allowed. `by` is the index into
            `grants` of the grant that allows the socket. `lacks` has the missing rules of each grant.

        Raises:
            NamespaceNotFoundError: no namespace can have this name, or the path leads to no namespace.
            AccessDeniedError: you may not open the path.
            BrokerUnavailableError: the broker can't be reached or does not answer.
            BrokerProtocolError: the broker is too old to explain.
            ValueError: the spec is not valid.

        Example:
            >>> import socket
            >>> import nsbroker
            >>> spec = nsbroker.SocketSpec("blue", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
            >>> answer = nsbroker.Client().explain(spec)
            >>> answer.reason is None
            False
            >>> for grant, lacks in zip(answer.grants, answer.lacks):
            ...     for key, rule in lacks:
            ...         line = f"grant {grant.name} lacks {key} {rule}"  # for example "sockets raw:tcp"
        """
        return run(self.broker.explain(spec, connect), self.on_long_wait)

    def close(self) -> None:
        """Close the idle connections, and the sockets in stock. You can still use the client: it connects again.

        Example:
            >>> import nsbroker
            >>> nsbroker.Client().close()
        """
        self.broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<nsbroker.Client {self.path!r}>"


_shared: dict[tuple[str, float], Client] = {}


def shared_client(path: str | None, timeout: float) -> Client:
    """Return this process's common client for a broker and a timeout in seconds."""
    resolved = path or os.environ.get("NSBROKER_SOCKET") or DEFAULT_PATH
    # setdefault is atomic: two threads that come first get the same client.
    return _shared.get((resolved, timeout)) or _shared.setdefault((resolved, timeout), Client(resolved, timeout))
