"""The audit: one record for each request, namespace and grant, written before the reply.

The records are encoded here, since the logging library would take a fourth of a round trip. If a record can't be
written, the client gets no socket and no answer.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote
from typing import Protocol

from nsbroker.wire import Address, Option, SocketSpec

from ..clients.peer import Peer
from ..policy.plans import Refusal
from ..sockets.batch import Opened

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False).encode
Fields = dict[str, object]

_MAX_TEXT_BYTES = 1024
"""Of a text in a record, as JSON. The name of a namespace that exists is shorter, unless it is full of control
characters."""

_PRIORITIES = {"notice": "<5>", "info": "<6>", "debug": "<7>"}
"""The prefix of a record for the journal, by the record's level. Source: sd-daemon(3)."""

_MAX_ESCAPE_BYTES = 12
"""Of one character in JSON: two escapes such as \\ud83d."""

_MAX_OPTION_BYTES = 16
"""Of the value of an option in a record. An interface's name is no longer: IFNAMSIZ in linux/if.h."""


_SOCKETS_IN_STEP = 16


class AuditError(Exception):
    """A record can't be written. The message is the system's."""


class Audit:
    """Writes records to a descriptor: as JSON lines, or as readable lines on a terminal.

    Attributes:
        fault: the system's reason why the last record could not be written, or None.
    """

    def __init__(self, path: str | None, *, has_priorities: bool = False) -> None:
        """Open the file, or use standard error without a path.

        Args:
            path: the file.
            has_priorities: let each record begin with its priority, such as `<5>`, for the journal.

        Raises:
            OSError: it can't be opened.
        """
        self.fault: str | None = None
        self._priorities = _PRIORITIES if has_priorities else {}
        self._path = path
        self._fd = _open(path)
        self._is_terminal = os.isatty(self._fd)
        self._second = ""
        self._stamp = ""
        self._is_torn = _is_torn(self._fd)

    def close(self) -> None:
        """Close the file. No record can be written any more."""
        if self._path is not None:
            os.close(self._fd)

    def allowed(self, peer: Peer, request_id: int, operation: str, details: Sequence[str]) -> int:
        """Write a record for each of the details, which come from `describe_opened` or `end_record`.

        Returns:
            The number of bytes of the records.

        Raises:
            AuditError: the records can't be written.
        """
        head = self._head(peer, request_id, operation, "allowed", "info" if operation == "open" else "debug")
        return self._write([head + one for one in details])

    def refused(
        self,
        peer: Peer,
        request_id: int | None,
        operation: str,
        refusal: Refusal,
        specs: Sequence[SocketSpec] = (),
        *,
        count: int = 1,
        is_of_several: bool = False,
    ) -> int:
        """Write a record of a refusal, or of `count` refusals of which it is the last, of one or several users.

        It describes the one of the `specs` that failed.

        Returns:
            The number of bytes of the record.

        Raises:
            AuditError: the record can't be written.
        """
        record: Fields = {"code": refusal.code, "reason": refusal.message}
        for key in ("namespace", "grant", "errno", "spec_index"):
            if (value := getattr(refusal, key)) is not None:
                record[key.removeprefix("spec_")] = value
        if count > 1:
            record["count"] = count
        if is_of_several:
            record["several_users"] = True
        if specs:
            record["asked"] = len(specs)
            if refusal.spec_index is not None:
                record["socket"] = describe_spec(specs[refusal.spec_index])
        outcome = "denied" if refusal.code == "denied" else "failed"
        head = self._head(peer, request_id, operation, outcome, "notice")
        return self._write([head + end_record(record)])

    def _head(self, peer: Peer, request_id: int | None, operation: str, outcome: str, level: str) -> str:
        """Return the beginning of a record: the fields that each record has."""
        return (
            f'{self._priorities.get(level, "")}{{"audit":"{operation}","time":"{self._now()}","level":"{level}",'
            f'"outcome":"{outcome}","uid":{peer.subject.uid},"gid":{peer.gid},"pid":{peer.pid or "null"},'
            f'"id":{"null" if request_id is None else request_id}'
        )

    def _now(self) -> str:
        """Return the time in UTC, to the microsecond. The text of a second is made once."""
        microseconds = str(time.time_ns() // 1000)
        second = microseconds[:-6]
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(second)))
        return f"{self._stamp}.{microseconds[-6:]}Z"

    def _write(self, records: Sequence[str]) -> int:
        if self._is_terminal:
            records = [_readable(json.loads(record)) for record in records]
        data = ("\n".join(records) + "\n").encode()
        if self._is_torn:
            data = b"\n" + data
        length = len(data)
        try:
            while data:
                written = os.write(self._fd, data)
                # If the next write fails, the file ends in a part of a record. The next record then gets a new line.
                self._is_torn = written < len(data)
                data = data[written:]
        except OSError as error:
            self.fault = error.strerror
            raise AuditError(error.strerror) from error
        self.fault = None
        return length


def _open(path: str | None) -> int:
    if path is None:
        return 2
    # O_NONBLOCK: open(2) must not wait for the reader of a pipe. Writes do wait.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    os.set_blocking(fd, True)
    return fd


def _is_torn(fd: int) -> bool:
    """Return whether a file ends in a part of a record: its writer was killed, or the disk was full."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    try:
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True  # an empty line does no harm
    try:
        return os.pread(reader, 1, status.st_size - 1) != b"\n"
    finally:
        os.close(reader)


def end_record(fields: Mapping[str, object]) -> str:
    """Return the end of a record: these fields and the closing brace.

    Long texts are cut. Then the field `cut` has the length of each whole text.
    """
    lengths = {}
    for key, value in fields.items():
        if isinstance(value, str) and len(value) * _MAX_ESCAPE_BYTES > _MAX_TEXT_BYTES:
            kept = _shorten(value)
            if kept != value:
                fields = {**fields, key: kept}
                lengths[key] = len(value)
    if lengths:
        fields = {**fields, "cut": lengths}
    return f",{_encode(fields)[1:]}" if fields else "}"


def _shorten(text: str) -> str:
    """Return the longest beginning that has at most `_MAX_TEXT_BYTES` as JSON."""
    length = 2  # the quotes
    for index, character in enumerate(text):
        length += len(_quote(character)) - 2
        if length > _MAX_TEXT_BYTES:
            return text[:index]
    return text


class HasId(Protocol):
    """A container, by its engine's id."""

    @property
    def id(self) -> str:
        """The full id."""


def describe_opened(
    opened: Sequence[Opened], containers: Mapping[str, HasId] = {}, *, for_stock: bool = False
) -> list[str]:
    """Return the end of a record for each namespace and grant, with all its sockets, and the id of its container.

    `for_stock` marks sockets that the client keeps for a moment, and may close without using them.
    """
    if len(opened) == 1:
        one = opened[0]
        label, grant = one.planned.label, one.planned.grant.name
        sockets = _describe_socket(one)
        return [_describe_group(label, grant, one.namespace.cookie, sockets, containers.get(label), for_stock)]
    steps = describe_in_steps(opened, containers, for_stock=for_stock)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            details: list[str] = end.value
            return details


def describe_in_steps(
    opened: Sequence[Opened], containers: Mapping[str, HasId] = {}, *, for_stock: bool = False
) -> Generator[None, None, list[str]]:
    """Do the same in steps: yield after some sockets."""
    groups: dict[tuple[str, str, int], list[str]] = {}
    group: list[str] = []
    last_label, last_grant, last_namespace = "", None, None
    for number, one in enumerate(opened):
        if number and not number % _SOCKETS_IN_STEP:
            yield
        planned, namespace = one.planned, one.namespace
        label, grant = planned.label, planned.grant
        if not (label is last_label and grant is last_grant and namespace is last_namespace):  # mostly the same objects
            last_label, last_grant, last_namespace = label, grant, namespace
            group = groups.setdefault((label, grant.name, namespace.cookie), [])
        group.append(_describe_socket(one))
    return [
        _describe_group(*key, ",".join(sockets), containers.get(key[0]), for_stock) for key, sockets in groups.items()
    ]


def _describe_group(label: str, grant: str, netns: int, sockets: str, container: HasId | None, for_stock: bool) -> str:
    found = "" if container is None else f',"container":{_quote(_shorten(container.id))}'
    kept = ',"stock":true' if for_stock else ""
    return f',"grant":{_quote(grant)},"namespace":{_quote(label)}{found}{kept},"netns":{netns},"sockets":[{sockets}]}}'


def _describe_socket(opened: Opened) -> str:
    """Encode a socket. Fields that differ between sockets are encoded by hand, in a fourth of the encoder's time."""
    planned, _, cookie, _, address = opened
    _, _, spec, _, kind, _, _, is_plain = planned
    _, family, _, _, _, listen, options, also = spec
    text = f'{{"kind":"{kind}","family":{family},"cookie":{cookie}'
    if is_plain:
        return text + "}"
    end = _end_socket(listen, options, also)
    return text + end if address is None else f'{text},"address":{_encode_address(address)}{end}'


def _encode_address(address: Address) -> str:
    if isinstance(address, bytes):
        return _encode(_printable(address))
    if len(address) == 4:
        host, port, flowinfo, scope_id = address
        return f"[{_quote(host)},{port},{flowinfo},{scope_id}]"
    return f"[{_quote(address[0])},{','.join(map(str, address[1:]))}]"


@lru_cache(16)
def _end_socket(listen: int | None, options: tuple[Option, ...], also: tuple[Address, ...]) -> str:
    """Encode the rest of a socket, which often is the same for all sockets of a batch."""
    return end_record(_describe_set_up(listen, options, also))


def describe_spec(spec: SocketSpec) -> Fields:
    """Return the fields of a socket that was asked for."""
    fields: Fields = {"family": spec.family, "type": spec.type, "proto": spec.proto}
    if spec.bind is not None:
        fields["bind"] = _printable(spec.bind)
    return fields | _describe_set_up(spec.listen, spec.options, spec.also)


def _describe_set_up(listen: int | None, options: tuple[Option, ...], also: tuple[Address, ...]) -> Fields:
    fields: Fields = {} if listen is None else {"listen": listen}
    if also:
        fields["also"] = list(also)
    if options:
        fields["options"] = [[level, name, *_describe_value(value)] for level, name, value in options]
    return fields


def _describe_value(value: int | bytes) -> list[object]:
    """Return the value of an option. If it is long, return its beginning and its length."""
    if isinstance(value, int) or len(value) <= _MAX_OPTION_BYTES:
        return [_printable(value)]
    return [_printable(value[:_MAX_OPTION_BYTES]), len(value)]


def _printable(value: object) -> object:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else value


def _readable(record: Fields) -> str:
    words = [f"{key}={value if isinstance(value, int) else _encode(value)}" for key, value in record.items()]
    return f"{record['time']} {record['outcome']}: " + " ".join(words[4:])
