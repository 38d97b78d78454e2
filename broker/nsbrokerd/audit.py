"""The audit: one record for each request, namespace and grant, written before the reply.

The records are encoded here and not by the logging library, which would cost a fourth of a round trip. A record that
can't be written is an error: what is not audited is not handed out.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Sequence

from nsbroker.wire import SocketSpec

from .opener import Opened
from .peer import Peer
from .session import Refusal

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False).encode
Fields = dict[str, object]


class Audit:
    """Writes records to a descriptor: as JSON lines, or to be read, when it is a terminal."""

    def __init__(self, path: str | None) -> None:
        """Open the file, or standard error for None.

        Raises:
            OSError: it can't be opened.
        """
        self._path = path
        self._fd = _open(path)
        self._format = _readable if os.isatty(self._fd) else _encode
        self._second = 0
        self._stamp = ""
        self._is_torn = _is_torn(self._fd)

    def reopen(self, path: str | None) -> None:
        """Go on in another file, or in a new one of the same name after the old one was moved away.

        Raises:
            OSError: it can't be opened; the old one stays in use.
        """
        fd = _open(path)
        self._is_torn = _is_torn(fd)
        if self._path is not None:
            os.close(self._fd)
        self._path, self._fd = path, fd
        self._format = _readable if os.isatty(fd) else _encode

    def allowed(self, peer: Peer, request_id: int, opened: Sequence[Opened], labels: Sequence[str]) -> None:
        """Record what is about to be handed over; `labels` are the names of the sockets' namespaces.

        Raises:
            OSError: it can't be written.
        """
        groups: dict[tuple[str, str], list[Opened]] = {}
        for one, label in zip(opened, labels, strict=True):
            groups.setdefault((label, one.planned.grant.name), []).append(one)
        self._write(
            self._record(peer, request_id, "open", "allowed")
            | {
                "grant": grant,
                "namespace": label,
                "netns": members[0].netns,
                "sockets": [_describe_opened(one) for one in members],
            }
            for (label, grant), members in groups.items()
        )

    def refused(
        self, peer: Peer, request_id: int | None, operation: str, refusal: Refusal, specs: Sequence[SocketSpec] = ()
    ) -> None:
        """Record a request that got nothing; of the `specs` that it asked for, the one that it failed by.

        Raises:
            OSError: it can't be written.
        """
        record = self._record(peer, request_id, operation, "denied" if refusal.code == "denied" else "failed")
        record |= {"code": refusal.code, "reason": refusal.message}
        for key in ("namespace", "grant", "errno", "spec_index"):
            if (value := getattr(refusal, key)) is not None:
                record[key.removeprefix("spec_")] = value
        if specs:
            record["asked"] = len(specs)
            if refusal.spec_index is not None:
                record["socket"] = _describe_spec(specs[refusal.spec_index])
        self._write([record])

    def answered(self, peer: Peer, request_id: int, operation: str, **fields: str) -> None:
        """Record a question about the policy that was answered.

        Raises:
            OSError: it can't be written.
        """
        self._write([self._record(peer, request_id, operation, "allowed") | fields])

    def _record(self, peer: Peer, request_id: int | None, operation: str, outcome: str) -> Fields:
        return {
            "audit": operation,
            "time": self._now(),
            "outcome": outcome,
            "uid": peer.subject.uid,
            "gid": peer.gid,
            "pid": peer.pid,
            "id": request_id,
        }

    def _now(self) -> str:
        """Give the time in UTC, to the microsecond; the text of a second is made once."""
        second, fraction = divmod(time.time_ns() // 1000, 1_000_000)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{fraction:06}Z"

    def _write(self, records: Iterable[Fields]) -> None:
        data = "".join([self._format(record) + "\n" for record in records]).encode()
        if self._is_torn:
            data = b"\n" + data
        while data:
            written = os.write(self._fd, data)
            # When the next write fails, a part of a record is there: what follows it begins a line of its own.
            self._is_torn = written < len(data)
            data = data[written:]


def _open(path: str | None) -> int:
    return 2 if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _is_torn(fd: int) -> bool:
    """Tell whether a file ends in a part of a record: its writer was killed, or the disk was full."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    try:
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True  # for safety; an empty line does no harm
    try:
        return os.pread(reader, 1, status.st_size - 1) != b"\n"
    finally:
        os.close(reader)


def _describe_opened(opened: Opened) -> Fields:
    spec = opened.planned.spec
    fields: Fields = {"kind": opened.planned.kind, "family": spec.family, "cookie": opened.cookie}
    if opened.name is not None:
        fields["name"] = _printable(opened.name)
    return _add_wishes(fields, spec)


def _describe_spec(spec: SocketSpec) -> Fields:
    fields: Fields = {"family": spec.family, "type": spec.type, "proto": spec.proto}
    if spec.bind is not None:
        fields["bind"] = _printable(spec.bind)
    return _add_wishes(fields, spec)


def _add_wishes(fields: Fields, spec: SocketSpec) -> Fields:
    if spec.listen is not None:
        fields["listen"] = spec.listen
    if spec.options:
        fields["options"] = [[level, name, _printable(value)] for level, name, value in spec.options]
    return fields


def _printable(value: object) -> object:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else value


def _readable(record: Fields) -> str:
    words = [f"{key}={value if isinstance(value, int) else _encode(value)}" for key, value in record.items()]
    return f"{record['time']} {record['outcome']}: " + " ".join(words[3:])
