"""Reads the answer of podman or docker about one container. Pure.

The HTTP interface and `podman container inspect` answer with the same fields. The command wraps them in a list.
"""

from __future__ import annotations

import json
from datetime import datetime

from ..wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_NAME_LENGTH = 253
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
"""Source: NameRegex in podman's libpod/define/errors.go, and validContainerNameChars in moby's daemon/names."""
_HEX = frozenset("0123456789abcdef")
_ID_LENGTH = 64
_MAX_PID = 2**22
"""Source: PID_MAX_LIMIT of a 64-bit kernel, proc_sys_kernel(5)."""


class Container(Record):
    """A container that runs.

    Attributes:
        id: its full id.
        pid: its first process.
        started_at: seconds since the epoch, or `None` if the engine does not say.
        resolv_conf: the path of its resolv.conf, or "".
        hosts: the path of its hosts file, or "".
    """

    id: str
    pid: int
    started_at: float | None
    resolv_conf: str
    hosts: str


class NoContainerError(Exception):
    """The engine has answered: there is no such container, or it can't be used. The text says why."""


class EngineError(Exception):
    """The engine gave no valid answer. The text says why."""


def is_container_name(text: str) -> bool:
    """Return whether a container can have this name. Such a text needs no escapes in a URL or a command line."""
    return 0 < len(text) <= MAX_NAME_LENGTH and text[0].isalnum() and _NAME_CHARACTERS.issuperset(text)


def read_http(data: bytes, name: str) -> bytes:
    """Return the body of an answer in HTTP/1.0, which ends with the connection.

    Raises:
        NoContainerError: there is no such container.
        EngineError: this is no such answer, or the engine failed.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    version, status = [*head.partition(b"\r\n")[0].split(b" "), b"", b""][:2]
    if not end or version not in (b"HTTP/1.0", b"HTTP/1.1") or len(status) != 3 or not status.isdigit():
        raise EngineError("its answer is not HTTP, or cut off")
    if status == b"404":
        raise NoContainerError(f"there is no container {name!r}")
    if status != b"200":
        raise EngineError(f"it answered with the HTTP status {status.decode()}")
    return body


def read_container(body: bytes, name: str) -> Container:
    """Read the description of a container.

    Args:
        body: JSON, which may be anything.
        name: the requested name. Engines also answer to ids, and to the beginnings of ids.

    Raises:
        NoContainerError: the container does not run, or has another name.
        EngineError: this is no description of a container.
    """
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EngineError("its answer is not JSON, or cut off") from error
    if isinstance(found, list) and len(found) == 1:
        (found,) = found
    state = found.get("State") if isinstance(found, dict) else None
    if not isinstance(state, dict) or not isinstance(found.get("Name"), str):
        raise EngineError("its answer is no description of a container")
    if (own_name := found["Name"].removeprefix("/")) != name:
        raise NoContainerError(f"there is no container {name!r}: this is an id of {own_name[:MAX_NAME_LENGTH]!r}")
    # Podman's paused containers don't count as running.
    if state.get("Running") is not True and state.get("Paused") is not True:
        raise NoContainerError(f"the container {name!r} does not run, so start it")
    return _running(found, state)


def _running(found: dict[str, Any], state: dict[str, Any]) -> Container:
    container_id, pid = found.get("Id"), state.get("Pid")
    if not isinstance(container_id, str) or len(container_id) != _ID_LENGTH or not _HEX.issuperset(container_id):
        raise EngineError("its answer has no full id")
    if type(pid) is not int or not 0 < pid <= _MAX_PID:
        raise EngineError("its answer has no process")
    paths = (_path(found.get("ResolvConfPath")), _path(found.get("HostsPath")))
    return Container(container_id, pid, _seconds(state.get("StartedAt")), *paths)


def _path(value: object) -> str:
    # JSON can have half a character, such as "\ud800", which open(2) can't take. It is not printable either.
    return value if isinstance(value, str) and value.startswith("/") and value.isprintable() else ""


def _seconds(value: object) -> float | None:
    """Return the time of a text such as "2026-01-31T10:00:00.123456789Z" (RFC 3339)."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time.timestamp() if time is not None and time.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
