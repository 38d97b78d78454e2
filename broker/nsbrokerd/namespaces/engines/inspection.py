"""The answer of podman and docker about one container, as checked values. Pure.

Source: ContainerInspect of the Docker Engine API. podman answers in the same form.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_ID = re.compile(r"[0-9a-f]{64}")
# RFC 3339. Go prints up to nine digits of a second.
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OWNER_PREFIX = "container:"


class UnclearAnswerError(Exception):
    """The answer is not in the form that it must have. The message says what differs."""


class Inspected(NamedTuple):
    """One container."""

    id: str
    name: str
    running: bool
    """Whether it has processes. A paused container has."""

    started_ns: int
    """Nanoseconds since the epoch, by the clock of the engine."""

    network: str
    """The mode of its network, for example "host", "none" or "bridge"."""

    owner: str | None
    """The full id of the container whose network namespace it joined when it started."""

    key: str
    """The path of the network namespace, or ""."""

    resolv_conf: str
    hosts: str
    """Paths of the container's /etc/resolv.conf and /etc/hosts on the host, or "". A user may have made the files."""


def parse_inspection(body: bytes) -> Inspected:
    """Read the body of an answer.

    Raises:
        UnclearAnswerError: it is not in the form that it must have.
    """
    answer = parse_json(body)
    state = _member(answer, "State", dict)
    mode = _member(_member(answer, "HostConfig", dict), "NetworkMode", str)
    owner = None
    if mode.startswith(_OWNER_PREFIX):
        owner = checked_id(mode.removeprefix(_OWNER_PREFIX))
    running = _member(state, "Running", bool) or state.get("Paused") is True
    return Inspected(
        id=checked_id(_member(answer, "Id", str)),
        name=_member(answer, "Name", str).removeprefix("/"),
        running=running and state.get("Restarting") is not True,
        started_ns=_nanoseconds(_member(state, "StartedAt", str)),
        network=mode,
        owner=owner,
        key=_member(_member(answer, "NetworkSettings", dict), "SandboxKey", str),
        resolv_conf=_file(answer, "ResolvConfPath", "/etc/resolv.conf"),
        hosts=_file(answer, "HostsPath", "/etc/hosts"),
    )


def parse_json(body: bytes) -> object:
    """Read JSON.

    Raises:
        UnclearAnswerError: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnclearAnswerError("it is no JSON") from error


def parse_names(body: bytes) -> list[str]:
    """Read the names in a list of containers. A name with another slash than the first is an alias in a network.

    Raises:
        UnclearAnswerError: it is not in the form that it must have.
    """
    answer = parse_json(body)
    if not isinstance(answer, list):
        raise UnclearAnswerError("it is no list")
    names = [name for container in answer for name in _member(container, "Names", list)]
    return [name.removeprefix("/") for name in names if isinstance(name, str)]


def parse_message(body: bytes) -> str:
    """Return the text of a refusal.

    Raises:
        UnclearAnswerError: it is not in the form that it must have.
    """
    return _member(parse_json(body), "message", str)


def checked_id(text: str) -> str:
    """Return a full id.

    Raises:
        UnclearAnswerError: it is none.
    """
    if not _ID.fullmatch(text):
        raise UnclearAnswerError("an id of a container is not in its full form")
    return text


def _member(value: object, key: str, kind: type[T]) -> T:
    member = value.get(key) if isinstance(value, dict) else None
    if not isinstance(member, kind):
        raise UnclearAnswerError(f"{key} is missing, or of another type")
    return member


def _file(answer: object, key: str, place: str) -> str:
    """Return the path of the file that a container has at this place, or "" if a user has mounted another one there.

    docker then answers with the user's file. podman answers with its own, which the container does not see.
    """
    mounts = _member(answer, "Mounts", list)
    mounted = any(isinstance(mount, dict) and mount.get("Destination") == place for mount in mounts)
    return "" if mounted else _member(answer, key, str)


def _nanoseconds(text: str) -> int:
    match = _TIME.fullmatch(text)
    if not match:
        raise UnclearAnswerError("StartedAt is no time")
    second, fraction, zone = match.groups()
    try:
        since = datetime.fromisoformat(second + zone) - _EPOCH
    except (ValueError, OverflowError) as error:
        raise UnclearAnswerError("StartedAt is no time") from error
    return (since.days * 86400 + since.seconds) * 10**9 + int((fraction or "").ljust(9, "0"))
