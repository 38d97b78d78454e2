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
from nsbroker.wire.bounds import (
    MAX_ALSO,
    MAX_BACKLOG,
    MAX_OPTION_BYTES,
    MAX_OPTIONS,
    MAX_PACKET_BYTES,
    MAX_REQUEST_ID,
    MAX_SOCKETS,
)
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy import Grant, NamespaceRule, Subject
from nsbrokerd.policy.kinds import triple_of
from nsbrokerd.policy.plans import PlannedSocket, Refusal
from nsbrokerd.requests.audit import Audit, describe_opened, end_record
from nsbrokerd.sockets.batch import Opened

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


@pytest.mark.parametrize("count", [1, 3])
def test_sockets_for_a_stock_are_recorded_as_such(tmp_path: Path, count: int) -> None:
    """Of other sockets, nothing is said about a stock."""
    path = tmp_path / "stock"
    opened = [_opened(SocketSpec("blue", *TCP), cookie) for cookie in range(count)]
    Audit(str(path)).allowed(PEER, 5, "open", describe_opened(opened, for_stock=True))
    record = json.loads(path.read_text())
    assert record["stock"] is True
    assert [sock["cookie"] for sock in record["sockets"]] == [*range(count)]
    (other,) = _records(tmp_path, *opened)
    assert "stock" not in other


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


def test_long_values_are_cut_and_their_lengths_are_said(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    options = ((0, 9, b"\xff" * 16), (0, 9, b"\xff" * 256))
    refusal = Refusal("denied", "no 'xx", spec_index=0, namespace="x" * 2000)
    Audit(str(path)).refused(PEER, 1, "open", refusal, [SocketSpec("blue", *TCP, options=options)])
    record = json.loads(path.read_text())
    assert (record["namespace"], record["cut"], record["reason"]) == ("x" * 1022, {"namespace": 2000}, "no 'xx")
    assert record["socket"]["options"] == [[0, 9, r"\xff" * 16], [0, 9, r"\xff" * 16, 256]]


@pytest.mark.parametrize("character", ["x", "\n", "\u202e", "\U0001f40d"])
@pytest.mark.parametrize("length", [0, 1, 84, 85, 86, 255, 1020])
def test_text_of_any_length_and_kind_is_short_in_its_record(character: str, length: int) -> None:
    """A name that a namespace can have is never cut."""
    text = character * length
    record = json.loads(f'{{"audit":"open"{end_record({"namespace": text})}')
    assert text.startswith(record["namespace"])
    assert len(json.dumps(record["namespace"])) <= 1024
    assert record.get("cut", {"namespace": length}) == {"namespace": length}
    if "cut" in record or length * len(json.dumps(character)[1:-1]) > 1022:
        assert len(text.encode()) > 255
        assert len(json.dumps(record["namespace"] + character)) > 1024
    else:
        assert record["namespace"] == text


def test_options_of_handed_out_sockets_are_all_in_the_record(tmp_path: Path) -> None:
    """The values of those that take long ones are cut, but no option is left out."""
    options = tuple((0, number, b"\0" * 256) for number in range(32))
    (record,) = _records(tmp_path, *[_opened(SocketSpec("blue", *TCP, options=options), 1)] * 3)
    assert [[one[1] for one in sock["options"]] for sock in record["sockets"]] == [list(range(32))] * 3
    assert all(one[2:] == ["\0" * 16, 256] for sock in record["sockets"] for one in sock["options"])


def test_longest_record_of_a_refusal(tmp_path: Path) -> None:
    path, most = tmp_path / "audit", 2**31 - 1
    addresses = (("fe80:1111:2222:3333:4444:5555:6666:7777", 65535, most, most),) * (1 + MAX_ALSO)
    options = ((-most, -most, b"\0" * MAX_OPTION_BYTES),) * MAX_OPTIONS
    spec = SocketSpec("x", -most, -most, -most, addresses[0], MAX_BACKLOG, options, addresses[1:])
    text = "\U0001f40d" * MAX_PACKET_BYTES
    refusal = Refusal("no-such-namespace", text, 133, 0, text, "\u00e9" * 100)
    peer = Peer(Subject(2**32 - 1, frozenset()), 2**32 - 1, 2**22)
    specs = [spec] * MAX_SOCKETS
    assert Audit(str(path)).refused(peer, MAX_REQUEST_ID, "explain", refusal, specs) == path.stat().st_size <= 10_000
    assert json.loads(path.read_text())["cut"] == {"reason": MAX_PACKET_BYTES, "namespace": MAX_PACKET_BYTES}


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
