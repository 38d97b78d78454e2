"""Names of containers, such as "podman:web": the broker's container, or one of the user's own podman or docker.

The broker is asked first. If it says no, the library looks for the user's own container, and lends the broker a
descriptor of its namespace. Which of the two a name means is decided once: neither side takes over a name of the other
when a container stops. The container itself is looked up for each request anew.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from .errors import AccessDeniedError, BrokerUnavailableError, Error, NamespaceNotFoundError
from .own_containers import OwnContainer, OwnContainerError, find, read_file
from .waiting import wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias, TypeVar

    from ..wire.messages import Explanation, NamespaceRef, ResolverFiles, SocketSpec
    from .waiting import Waiting

    T = TypeVar("T")

    Ask: TypeAlias = "Callable[[Mapping[str, OwnContainer], float], Waiting[T]]"
    """Asks the broker, with the user's own containers in place of their names, and seconds to wait for namespaces."""

_MAX_REMEMBERED = 4096
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_TO_GRANT = 'ask the administrator for a grant with namespaces = ["@own"]'


class Containers:
    """The names of containers that one broker is asked for. `timeout_s` is the time for the answer of an own engine."""

    def __init__(self) -> None:
        self.timeout_s = 0.0
        self._is_own: dict[str, bool] = {}

    async def open(
        self,
        names: Sequence[str],
        specs: Sequence[SocketSpec],
        ask: Callable[[Sequence[SocketSpec], float], Waiting[T]],
        wait_s: float,
    ) -> T:
        """Open sockets of which some are in containers.

        Args:
            names: the containers' names, each once.
            specs: the sockets.
            ask: asks the broker, with specs and seconds to wait.
            wait_s: seconds to wait for containers that do not run yet, and for other namespaces.

        Raises:
            Error: as `Broker.open`. If the broker refuses a container, the message says what each side answered.
        """

        def ask_with(own: Mapping[str, OwnContainer], slice_s: float) -> Waiting[T]:
            return ask([_lend(spec, own) for spec in specs], slice_s)

        def name_of(error: Error) -> NamespaceRef | None:
            if error.index is None:
                return None
            error.spec = specs[error.index]
            return error.spec.namespace

        return await self._ask_both(names, ask_with, name_of, wait_s)

    async def resolver_files(self, name: str, ask: Callable[[NamespaceRef], Waiting[ResolverFiles]]) -> ResolverFiles:
        """Return the files by which names are looked up in a container. `ask` asks the broker.

        Of the user's own container, these are the files that its engine made for it.

        Raises:
            Error: as `open`.
            OSError: a file can't be read.
        """

        async def ask_with(own: Mapping[str, OwnContainer], _: float) -> ResolverFiles:
            container = own.get(name)
            if container is None:
                return await ask(name)
            files = await ask(container.fd)
            origin = container.resolv_conf or f"{name} (it has none)"
            return files._replace(
                resolv_conf=read_file(container.resolv_conf), hosts=read_file(container.hosts), origin=origin
            )

        return await self._ask_both([name], ask_with, lambda _: name, 0)

    async def explain(self, spec: SocketSpec, ask: Callable[[SocketSpec], Waiting[Explanation]]) -> Explanation:
        """Explain a socket in a container: in the broker's, unless only the user's own exists. `ask` asks the broker.

        Raises:
            Error: as `open`.
        """
        name = str(spec.namespace)
        refusal: Error | None = None
        answer: Explanation | None = None
        if not self._is_own.get(name):
            try:
                answer = await ask(spec)
            except Error as error:
                if not _may_be_own(error) or name in self._is_own:
                    raise
                refusal = error
            if answer is not None and (name in self._is_own or (answer.reason is None and answer.exists)):
                return answer
        try:
            own = await find(name, self.timeout_s)
        except OwnContainerError as error:
            if answer is not None:
                return answer
            raise _neither(name, refusal, error) from error
        try:
            return await ask(_lend(spec, {name: own}))
        finally:
            os.close(own.fd)

    async def _ask_both(
        self, names: Sequence[str], ask: Ask[T], name_of: Callable[[Error], NamespaceRef | None], wait_s: float
    ) -> T:
        """Ask until each name has a container, or `wait_s` is over. `name_of` returns the name that was refused."""
        until = monotonic() + wait_s
        if all(self._is_own.get(name) is False for name in names):
            return await ask({}, wait_s)
        slice_s = 0.0
        while True:
            began = monotonic()
            try:
                return await self._ask_once(names, ask, name_of, slice_s)
            except (AccessDeniedError, NamespaceNotFoundError):
                if monotonic() >= until:
                    raise
            slice_s = min(2 * slice_s or _FIRST_PAUSE_S, _LONGEST_PAUSE_S, until - monotonic())
            # The broker may have waited for a part of this pause already.
            await wait(began + slice_s, ())

    async def _ask_once(
        self, names: Sequence[str], ask: Ask[T], name_of: Callable[[Error], NamespaceRef | None], slice_s: float
    ) -> T:
        own: dict[str, OwnContainer] = {}
        refusals: dict[NamespaceRef, Error] = {}
        try:
            for name in names:
                if self._is_own.get(name):
                    own[name] = await self._find(name, None)
            while True:
                try:
                    answer = await ask(own, slice_s)
                except Error as error:
                    name = name_of(error)  # type: ignore[assignment]  # checked by the next line
                    if name not in names or self._is_own.get(name) is False or not _may_be_own(error):
                        raise
                    if name in own:
                        raise _refused_twice(name, refusals.get(name), error) from error
                    refusals[name] = error
                    own[name] = await self._find(name, error)
                else:
                    self._remember(names, own)
                    return answer
        finally:
            for container in own.values():
                os.close(container.fd)

    async def _find(self, name: str, refusal: Error | None) -> OwnContainer:
        try:
            return await find(name, self.timeout_s)
        except OwnContainerError as error:
            raise _neither(name, refusal, error) from error

    def _remember(self, names: Iterable[str], own: Mapping[str, OwnContainer]) -> None:
        for name in names:
            if len(self._is_own) < _MAX_REMEMBERED:
                self._is_own.setdefault(name, name in own)


def _lend(spec: SocketSpec, own: Mapping[str, OwnContainer]) -> SocketSpec:
    container = own.get(spec.namespace) if isinstance(spec.namespace, str) else None
    return spec if container is None else spec._replace(namespace=container.fd)


def _may_be_own(error: Error) -> bool:
    """Return whether the broker says no, or that its engine does not answer.

    Other errors are the kernel's, or mean that no broker has answered.
    """
    is_unavailable = isinstance(error, BrokerUnavailableError) and error.errno == errno.EAGAIN
    return is_unavailable or isinstance(error, AccessDeniedError | NamespaceNotFoundError)


def _neither(name: str, refusal: Error | None, own: OwnContainerError) -> Error:
    """Return the exception for a name for which the user has no container either."""
    if refusal is None:
        text = f"{name} was your own container, and {own}"
        return NamespaceNotFoundError(errno.ENOENT, text)
    return _as(refusal, f"the broker says: {refusal.strerror}; {own}")


def _refused_twice(name: str, by_name: Error | None, by_descriptor: Error) -> Error:
    engine = name.partition(":")[0]
    remedy = f": {_TO_GRANT}" if isinstance(by_descriptor, AccessDeniedError) else ""
    about = f"{by_descriptor.strerror}{remedy}"
    if by_name is None:
        return _as(by_descriptor, f"your own {engine} has the container, and the broker says about it: {about}")
    first = f"the broker says about {name}: {by_name.strerror}"
    return _as(by_descriptor, f"{first}; your own {engine} has such a container, and the broker says about it: {about}")


def _as(error: Error, text: str) -> Error:
    made = type(error)(error.errno, text)
    made.index, made.spec = error.index, error.spec
    return made
