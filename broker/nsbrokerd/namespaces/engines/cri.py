"""Finds pods by the CRI socket of containerd or CRI-O.

The runtime's own memory was right in every state that was tried. CNI's files of results were not: they outlive pods
whose runtime was killed. So the broker asks the runtime, at each request.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from ...policy.engine_names import NameError_, parse_engine_name
from . import grpc
from .answers import EngineError, Found
from .cri_messages import (
    LIST,
    STATUS,
    VERSION,
    MessageError,
    Pod,
    Sandbox,
    Status,
    list_request,
    pod_of,
    read_sandbox,
    read_status,
    read_version,
    split_list,
    status_request,
    version_request,
)
from .unix_socket import UnreachableError, connect

MAX_ANSWER_BYTES = 2**18
"""All answers to the question for one pod. They have its annotations three times, of at most 256 KiB each."""

MAX_LIST_BYTES = 2**21
"""The list of all pods, which has their labels and annotations, too."""

_TIMEOUT_S = 1.0
"""The time after which the runtime can give up. The caller of this module bounds the time itself."""


class Cri:
    """A container runtime with a CRI socket. It has the form of `answers.Engine`."""

    def __init__(self, path: Path) -> None:
        """Ask at a socket, for example /run/containerd/containerd.sock."""
        self._path = path

    async def find(self, name: str) -> Found:
        """Ask for the pod NAMESPACE.NAME.

        Raises:
            EngineError: there is no such pod, it has no namespace to use, or the runtime gives no usable answer.
        """
        pod = pod_of(name)
        async with self._connection(MAX_ANSWER_BYTES) as runtime:
            ready = await self._sandboxes(runtime, pod)
            if not ready:
                raise _absent(pod, await self._sandboxes(runtime, pod, state=None))
            if len(ready) > 1:
                raise EngineError(
                    "several",
                    f"pod:{pod} has {len(ready)} sandboxes that are ready: stop all but the newest by `crictl stopp`",
                )
            try:
                answer = await runtime.call(STATUS, status_request(ready[0].id), _TIMEOUT_S)
            except grpc.StatusError as error:
                if error.status == grpc.NOT_FOUND:
                    raise _not_running(pod) from error
                raise
            return _found(pod, ready[0], read_status(answer))

    async def running(self) -> list[str]:
        """List the pods that are ready, as NAMESPACE.NAME, in order.

        Raises:
            EngineError: unavailable.
        """
        async with self._connection(MAX_LIST_BYTES) as runtime:
            items = split_list(await runtime.call(LIST, list_request(None), _TIMEOUT_S))
        found = set()
        for item in items:
            await trio.lowlevel.checkpoint()  # a long list does not hold up other requests
            # A pod's author decides about its labels. They must not hide the other pods.
            with contextlib.suppress(MessageError):
                sandbox = read_sandbox(item)
                if sandbox.is_ready and _is_legal(sandbox.pod):
                    found.add(str(sandbox.pod))
        return sorted(found)

    async def check(self) -> str:
        """Return a line with the runtime's name and version, for example "containerd 1.6.20 answers at PATH".

        Raises:
            EngineError: unavailable.
        """
        async with self._connection(MAX_ANSWER_BYTES) as runtime:
            version = read_version(await runtime.call(VERSION, version_request(), _TIMEOUT_S))
        return f"{version} answers at {self._path}"

    async def _sandboxes(self, runtime: grpc.Connection, pod: Pod, state: int | None = 0) -> list[Sandbox]:
        """List the pod's sandboxes. The runtime selects them by labels, and their names must be the pod's, too."""
        answer = await runtime.call(LIST, list_request(pod, state), _TIMEOUT_S)
        listed = [read_sandbox(item) for item in split_list(answer)]
        return [sandbox for sandbox in listed if sandbox.pod == pod and (state is None or sandbox.is_ready)]

    @contextlib.asynccontextmanager
    async def _connection(self, max_bytes: int) -> AsyncIterator[grpc.Connection]:
        """Connect to the runtime for some calls. Each failure of theirs is an EngineError."""
        try:
            async with await connect(self._path) as stream:
                yield grpc.Connection(stream, max_bytes)
        except grpc.StatusError as error:
            remedy = (
                "containerd 1.6, CRI-O 1.23 or newer is needed" if error.status == grpc.UNIMPLEMENTED else "see its log"
            )
            raise self._unavailable(f"it answers with the status {error}: {remedy}") from error
        except (grpc.AnswerError, MessageError) as error:
            raise self._unavailable(f"{error}: see its log") from error
        except UnreachableError as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, why: str) -> EngineError:
        return EngineError("unavailable", f"the engine of pods is unavailable at {self._path}: {why}")


def _found(pod: Pod, asked: Sandbox, status: Status) -> Found:
    if status.sandbox.id != asked.id or status.sandbox.pod != pod:
        raise MessageError("it answers with the status of another pod")
    if not status.sandbox.is_ready:
        raise _not_running(pod)
    if status.is_in_host_network or not status.key:
        raise EngineError("host-network", f"the network of pod:{pod} is the host's: ask for @host")
    return Found(asked.id, status.key, status.resolv_conf)


def _absent(pod: Pod, sandboxes: list[Sandbox]) -> EngineError:
    if sandboxes:
        return _not_running(pod)
    return EngineError(
        "no-such-container", f"this host has no pod:{pod}. The name is NAMESPACE.NAME of a pod on this host"
    )


def _not_running(pod: Pod) -> EngineError:
    return EngineError("not-running", f"pod:{pod} does not run: wait until it is ready, or start it")


def _is_legal(pod: Pod) -> bool:
    try:
        return parse_engine_name(f"pod:{pod}", ("pod",)) is not None
    except NameError_:
        return False
