"""The audit writes JSON that every reader accepts, whatever the names are, or lines for a terminal."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nsbroker.wire import EnteredNamespace, SocketSpec
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy import Grant, NamespaceRule, Subject
from nsbrokerd.policy.kinds import triple_of
from nsbrokerd.policy.plans import PlannedSocket, Refusal
from nsbrokerd.requests.audit import Audit, describe_opened
from nsbrokerd.sockets.opener import Opened

PEER = Peer(Subject(1000, frozenset({100})), 100, 4711)
TCP = (int(socket.AF_INET), int(socket.SOCK_STREAM))


@pytest.fixture
def time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test may set another one; afterwards it is what it was."""
    yield
    monkeypatch.undo()
    time.tzset()


def _opened(spec: SocketSpec, cookie: int, netns: int = 7, *, label: str = "blue", grant: str = "web") -> Opened:
    rule = Grant(grant, None, frozenset(), NamespaceRule.parse(["*"]), frozenset({"tcp"}))
    name = ("10.0.0.1", 80) if spec.bind else None
    planned = PlannedSocket(0, label, spec, triple_of(spec), "tcp", rule, binds_as_root=False)
    namespace = EnteredNamespace(netns, 4, 4026532000)
    return Opened(planned, socket.SocketType.__new__(socket.SocketType), cookie, namespace, name)


def _records(tmp_path: Path, *opened: Opened) -> list[dict[str, Any]]:
    path = tmp_path / "audit"
    Audit(str(path)).allowed(PEER, 5, "open", describe_opened(opened))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_names_are_quoted(tmp_path: Path) -> None:
    """A name of a namespace or a grant can't begin a field, or a record, of its own."""
    hostile = 'x","uid":0,"y":"\n{"audit":"open"}\\'
    (record,) = _records(tmp_path, _opened(SocketSpec("blue", *TCP), 1, label=hostile, grant=hostile))
    assert (record["namespace"], record["grant"], record["uid"]) == (hostile, hostile, 1000)


def test_sockets_of_two_namespaces_never_share_a_record(tmp_path: Path) -> None:
    """Not even when both go by the same label, as two namespaces of the user's own do."""
    spec = SocketSpec("blue", *TCP)
    own = [_opened(spec, cookie, netns, label="descriptor:@own") for cookie, netns in ((1, 7), (2, 8), (3, 7))]
    found = [(one["netns"], [sock["cookie"] for sock in one["sockets"]]) for one in _records(tmp_path, *own)]
    assert found == [(7, [1, 3]), (8, [2])]


def test_wishes_of_a_socket_are_told_and_no_others(tmp_path: Path) -> None:
    asked = SocketSpec("blue", *TCP, 0, ("10.0.0.1", 80), 5, ((1, 25, b"eth0"), (1, 2, 1)))
    (record,) = _records(tmp_path, _opened(asked, 1), _opened(SocketSpec("blue", *TCP), 2))
    assert record["sockets"] == [
        {
            "kind": "tcp",
            "family": 2,
            "cookie": 1,
            "address": ["10.0.0.1", 80],
            "listen": 5,
            "options": [[1, 25, "eth0"], [1, 2, 1]],
        },
        {"kind": "tcp", "family": 2, "cookie": 2},
    ]


def test_refusal_without_an_id_is_a_record_too(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    Audit(str(path)).refused(PEER, None, "unread", Refusal("denied", 'no "web"'))
    record = json.loads(path.read_text())
    assert (record["id"], record["outcome"], record["code"], record["reason"]) == (None, "denied", "denied", 'no "web"')


@pytest.mark.parametrize("zone", ["WEST+9:30", "EAST-5:45"])
def test_times_are_utc_wherever_the_broker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time_zone: None, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    before = time.time_ns()
    [record] = _records(tmp_path, _opened(SocketSpec("blue", *TCP), 1))
    after = time.time_ns()
    assert record["time"].endswith("Z")
    written_us = (datetime.fromisoformat(record["time"]) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    assert before // 1000 <= written_us <= after // 1000


def test_terminal_gets_lines_to_read() -> None:
    near, far = os.openpty()
    try:
        Audit(os.ttyname(far)).allowed(PEER, 5, "open", describe_opened([_opened(SocketSpec("blue", *TCP), 1)]))
        line = os.read(near, 4096).decode()
    finally:
        os.close(near)
        os.close(far)
    assert " allowed: uid=1000 gid=100 pid=4711 id=5 grant=" in line
