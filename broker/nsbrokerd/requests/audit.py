"""The audit: one record for each request, namespace and grant, written before the reply.

The records are encoded here and not by the logging library, which would cost a fourth of a round trip. A record that
can't be written is an error: what is not audited is not handed out.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote

from nsbroker.wire import Address, Option, SocketSpec

from ..clients.peer import Peer
from ..policy.plans import Refusal
from ..sockets.opener import NOTHING_WANTED, Opened

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
        self._is_terminal = os.isatty(self._fd)
        self._second = 0
        self._stamp = ""
        self._is_torn = _is_torn(self._fd)

    def close(self) -> None:
        """Close the file; nothing can be recorded any more."""
        if self._path is not None:
            os.close(self._fd)

    def allowed(self, peer: Peer, request_id: int, opened: Sequence[Opened]) -> None:
        """Record what is about to be handed over.

        Raises:
            OSError: it can't be written.
        """
        groups: dict[tuple[str, str, int], list[str]] = {}
        for one in opened:
            key = one.planned.label, one.planned.grant.name, one.netns
            described = _describe_opened(one)
            if key in groups:
                groups[key].append(described)
            else:
                groups[key] = [described]
        head = self._head(peer, request_id, "open", "allowed")
        self._write(
            [
                f'{head},"grant":{_quote(grant)},"namespace":{_quote(label)},"netns":{netns},"sockets":[{",".join(sockets)}]}}'
                for (label, grant, netns), sockets in groups.items()
            ]
        )

    def refused(
        self, peer: Peer, request_id: int | None, operation: str, refusal: Refusal, specs: Sequence[SocketSpec] = ()
    ) -> None:
        """Record a request that got nothing; of the `specs` that it asked for, the one that it failed by.

        Raises:
            OSError: it can't be written.
        """
        record: Fields = {"code": refusal.code, "reason": refusal.message}
        for key in ("namespace", "grant", "errno", "spec_index"):
            if (value := getattr(refusal, key)) is not None:
                record[key.removeprefix("spec_")] = value
        if specs:
            record["asked"] = len(specs)
            if refusal.spec_index is not None:
                record["socket"] = _describe_spec(specs[refusal.spec_index])
        head = self._head(peer, request_id, operation, "denied" if refusal.code == "denied" else "failed")
        self._write([_add(head, record)])

    def answered(self, peer: Peer, request_id: int, operation: str, **fields: str) -> None:
        """Record a question about the policy that was answered.

        Raises:
            OSError: it can't be written.
        """
        self._write([_add(self._head(peer, request_id, operation, "allowed"), fields)])

    def _head(self, peer: Peer, request_id: int | None, operation: str, outcome: str) -> str:
        """Begin a record, with what all records have; the end is missing."""
        (uid, _), gid, pid = peer
        return (
            f'{{"audit":"{operation}","time":"{self._now()}","outcome":"{outcome}","uid":{uid},"gid":{gid},"pid":{pid},'
            f'"id":{"null" if request_id is None else request_id}'
        )

    def _now(self) -> str:
        """Give the time in UTC, to the microsecond; the text of a second is made once."""
        second, fraction = divmod(time.time_ns() // 1000, 1_000_000)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{fraction:06}Z"

    def _write(self, records: Sequence[str]) -> None:
        if self._is_terminal:
            records = [_readable(json.loads(record)) for record in records]
        data = ("\n".join(records) + "\n").encode()
        if self._is_torn:
            data = b"\n" + data
        while data:
            written = os.write(self._fd, data)
            # When the next write fails, a part of a record is there: what follows it begins a line of its own.
            self._is_torn = written < len(data)
            data = data[written:]


def _open(path: str | None) -> int:
    if path is None:
        return 2
    # Without waiting for somebody to read a pipe; but its writes do wait.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    os.set_blocking(fd, True)
    return fd


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


def _add(text: str, fields: Mapping[str, object]) -> str:
    """Give a text that has the beginning of a JSON object these fields too, and its end."""
    return f"{text},{_encode(fields)[1:]}" if fields else text + "}"


def _describe_opened(opened: Opened) -> str:
    """Encode a socket: by hand what differs from one to the next, which takes a fourth of the encoder's time."""
    spec = opened.planned.spec
    text = f'{{"kind":"{opened.planned.kind}","family":{spec.family},"cookie":{opened.cookie}'
    if spec[4:] == NOTHING_WANTED:
        return text + "}"
    if opened.name is not None:
        text += f',"name":{_encode_name(opened.name)}'
    return text + _encode_wishes(spec.listen, spec.options, spec.also)


def _encode_name(name: Address) -> str:
    if isinstance(name, bytes):
        return _encode(_printable(name))
    host, *numbers = name
    return f"[{_quote(host)},{','.join(map(str, numbers))}]"


@lru_cache(16)
def _encode_wishes(listen: int | None, options: tuple[Option, ...], also: tuple[Address, ...]) -> str:
    """Encode the rest of a record of a socket. All sockets of a batch may have the same."""
    return _add("", _add_wishes({}, listen, options, also))


def _describe_spec(spec: SocketSpec) -> Fields:
    fields: Fields = {"family": spec.family, "type": spec.type, "proto": spec.proto}
    if spec.bind is not None:
        fields["bind"] = _printable(spec.bind)
    return _add_wishes(fields, spec.listen, spec.options, spec.also)


def _add_wishes(fields: Fields, listen: int | None, options: tuple[Option, ...], also: tuple[Address, ...]) -> Fields:
    if listen is not None:
        fields["listen"] = listen
    if also:
        fields["also"] = list(also)
    if options:
        fields["options"] = [[level, name, _printable(value)] for level, name, value in options]
    return fields


def _printable(value: object) -> object:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else value


def _readable(record: Fields) -> str:
    words = [f"{key}={value if isinstance(value, int) else _encode(value)}" for key, value in record.items()]
    return f"{record['time']} {record['outcome']}: " + " ".join(words[3:])
