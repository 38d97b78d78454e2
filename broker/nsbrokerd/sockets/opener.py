"""Makes the sockets of a plan. If one of them fails, it closes all.

The sockets of a large request are made in pieces, so that other persons are served in between. See `batch`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from io import FileIO
from socket import SocketType

from nsbroker.wire import make_record

from ..clients.client import Person
from ..clients.closer import Closer
from ..namespaces.netns import Gate, NamespaceNotFoundError
from ..policy.kinds import Triple
from ..policy.plans import PlannedSocket
from ..seal import Seal
from .batch import SPECIAL, Batch, Opened, OpenError, OpenGroup, binds, cookie_of, make_socket
from .credentials import Credentials
from .slow_binds import Errand, SlowBinds
from .time_slice import AbandonedError, Steps, TimeSlice


class Opener:
    """Makes sockets in other namespaces, as their clients. Only for the broker's main thread.

    The seal's thread makes the sockets of grants with a limit, while the main thread waits.
    """

    def __init__(
        self,
        gate: Gate,
        credentials: Credentials,
        unsupported: Mapping[Triple, int],
        seal: Seal | None = None,
        slow: SlowBinds | None = None,
        closer: Closer | None = None,
    ) -> None:
        """Take what all sockets need.

        Args:
            gate: the main thread's way into namespaces.
            credentials: the broker's own.
            unsupported: the errno for each triple that this kernel can't make. The kernel is not asked for it again.
            seal: enforces limits. It is only needed for grants with a limit.
            slow: has the threads of persons whose binds are slow. Default: an object of this opener alone.
            closer: closes sockets of requests that fail. Default: an object of this opener alone.
        """
        self._gate = gate
        self._credentials = credentials
        self._unsupported = unsupported
        self._seal = seal
        self._slow = slow or SlowBinds(credentials)
        self._closer = closer or Closer()

    def discard(self, person: Person, socks: Sequence[SocketType | FileIO]) -> None:
        """Close sockets that were made, and that no client has got."""
        self._closer.discard(person, socks)

    def needs_steps(self, planned: PlannedSocket, person: Person) -> bool:
        """Return whether a socket must be made in steps, because binding it may take long."""
        return binds(planned) and self._slow.is_slow(person.uid)

    def open_sockets(self, groups: Sequence[OpenGroup], uid: int, gid: int, person: Person) -> list[Opened]:
        """Make all sockets at once, in the order of the request.

        Args:
            groups: one for each namespace.
            uid: the user that owns the sockets, as the kernel and firewalls see them.
            gid: the group of the sockets, for the same purpose.
            person: whose threads bind slowly and close slowly, if that is needed.

        Raises:
            OpenError: the kernel refused a socket, so all of them were closed.
            NamespaceNotFoundError: a descriptor is no network namespace, so all sockets were closed.
            UnsealedError: a grant has a limit and there is no seal: our own invariant is broken.
        """
        if len(groups) == 1:
            namespace_fd, sockets = groups[0]
            if len(sockets) == 1 and _needs_nothing_else(sockets[0]):
                return [self._open_plain(namespace_fd, sockets[0], uid, gid)]
        batch = Batch(self._credentials, self._unsupported, uid, gid, person, self._slow, self._closer)
        try:
            if _has_limits(groups):
                batch.make_sealed(self._seal, _select(groups, is_limited=True))
                groups = _select(groups, is_limited=False)
            if groups:
                batch.make(self._gate, groups)
            batch.set_up()
            return batch.describe()
        except BaseException:
            batch.close()
            raise

    def _open_plain(self, namespace_fd: int, planned: PlannedSocket, uid: int, gid: int) -> Opened:
        """Make the only socket of a request, as most requests want it: a batch does this in twice the time."""
        make = partial(make_socket, planned, self._unsupported)
        sock = self._credentials.as_owner(uid, gid, partial(self._gate.call_inside, namespace_fd, make))
        try:
            namespace = self._gate.verify(namespace_fd, sock)
            return make_record(Opened, (planned, sock, cookie_of(sock), namespace, None))
        except BaseException:
            sock.close()
            raise

    def open_in_steps(
        self, groups: Sequence[OpenGroup], uid: int, gid: int, person: Person, time_slice: TimeSlice
    ) -> Steps[list[Opened]]:
        """Make all sockets in steps, in the order of the request. The arguments and errors are those of `open_sockets`.

        Raises:
            TooManySlowError: the person's thread, or all threads together, have enough to do.
        """
        batch = Batch(self._credentials, self._unsupported, uid, gid, person, self._slow, self._closer)
        errand: Errand | None = None
        try:
            has_limits = _has_limits(groups)
            rest: Sequence[OpenGroup] = _select(groups, is_limited=True) if has_limits else ()
            while rest:
                rest = batch.make_sealed(self._seal, rest, time_slice)
                if time_slice.is_over():
                    yield None
            rest = _select(groups, is_limited=False) if has_limits else groups
            while rest:
                rest = batch.make(self._gate, rest, time_slice)
                if time_slice.is_over():
                    yield None
            while not batch.is_set_up:
                if batch.binds and self._slow.is_slow(person.uid):
                    errand = self._slow.send(person.uid, batch.set_up_in_thread, len(batch))
                    try:
                        yield errand
                    except AbandonedError:
                        errand.result()  # if it has failed already, the request has
                        raise
                    errand.result()
                else:
                    batch.set_up_some(time_slice)
                    if time_slice.is_over():
                        yield None
            return (yield from batch.describe_in_steps(time_slice))
        except (NamespaceNotFoundError, OpenError, OSError):
            with suppress(AbandonedError):  # the request has failed, whether its client is there or not
                yield from batch.close_in_steps(time_slice)
            raise
        except BaseException:
            if errand is None:
                batch.close()
            else:
                errand.abandon(batch.close_in_thread)
            raise


def _needs_nothing_else(planned: PlannedSocket) -> bool:
    """Return whether a socket is neither set up, nor sealed, nor of a family that needs special care."""
    return planned.is_plain and planned.grant.limit is None and planned.spec.family not in SPECIAL


def _has_limits(groups: Sequence[OpenGroup]) -> bool:
    for _, sockets in groups:
        for planned in sockets:
            if planned.grant.limit is not None:
                return True
    return False


def _select(groups: Sequence[OpenGroup], *, is_limited: bool) -> list[OpenGroup]:
    return [
        OpenGroup(group.namespace_fd, kept)
        for group in groups
        if (kept := [one for one in group.sockets if (one.grant.limit is not None) is is_limited])
    ]
