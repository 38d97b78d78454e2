"""The audit has a record for each request, namespace and grant before the reply. Without it, there is no socket."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nsbroker
from nsbroker import SocketSpec
from nsbroker.wire import OVERLOADED, NamespacesRequest, Request, ResolverRequest
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import RawClient
from support.inside import cookie_inside, socket_cookie
from support.namespaces import PREFIX
from support.process_state import stopped
from support.users import GROUP, USER, as_user
from support.waiting import wait_until

PAGE = os.sysconf("SC_PAGESIZE")
TCP = (socket.AF_INET, socket.SOCK_STREAM)
UDP = (socket.AF_INET, socket.SOCK_DGRAM)

TWO_GRANTS = f"""
[[grant]]
name = "web"
users = ["*"]
namespaces = ["{PREFIX}a", "{PREFIX}b"]
sockets = ["tcp"]
bind = ["*:80"]

[[grant]]
name = "dns"
users = ["*"]
namespaces = ["{PREFIX}b", "{PREFIX}c"]
sockets = ["udp"]
"""


def _open(broker: BrokerProcess, specs: list[SocketSpec]) -> tuple[int, list[int]]:
    """Open sockets, close them, and return the pid and their cookies."""
    with nsbroker.Client(str(broker.socket_path)) as client:
        return os.getpid(), [_take_cookie(sock) for sock in client.open(specs)]


def _take_cookie(sock: socket.socket) -> int:
    with sock:
        return socket_cookie(sock)


def _errno(broker: BrokerProcess, specs: list[SocketSpec]) -> int | None:
    """The errno that a request ends with."""
    try:
        _open(broker, specs)
    except OSError as error:
        return error.errno
    return None


def test_record_is_written_before_the_reply(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """Whoever has a socket can find it in the audit."""
    name = make_namespace()
    with nsbroker.Client(str(broker.socket_path)) as client:
        for number in range(1, 201):
            cookie = _take_cookie(client.open([SocketSpec(name, *TCP)])[0])
            records = broker.audit()
            assert len(records) == number
            assert [sock["cookie"] for sock in records[-1]["sockets"]] == [cookie]


def test_record_says_who_got_what_where_and_by_which_grant(
    make_namespace: Callable[..., str], start_broker: Callable[..., BrokerProcess]
) -> None:
    """The record has uid, gid, pid, grant, namespace with cookie, and each socket with its cookie and address."""
    name = make_namespace("a")
    broker = start_broker(TWO_GRANTS)
    spec = SocketSpec(name, *TCP, 0, ("127.0.0.1", 80), 5, ((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),))
    pid, cookies = as_user(USER, GROUP, _open, broker, [spec])
    (record,) = broker.audit()
    (audited,) = record.pop("sockets")
    assert {key: record[key] for key in ("audit", "outcome", "uid", "gid", "pid", "grant", "namespace", "netns")} == {
        "audit": "open",
        "outcome": "allowed",
        "uid": USER,
        "gid": GROUP,
        "pid": pid,
        "grant": "web",
        "namespace": name,
        "netns": cookie_inside(name),
    }
    assert (audited["kind"], audited["family"], [audited["cookie"]]) == ("tcp", socket.AF_INET, cookies)
    assert (audited["address"], audited["listen"]) == (["127.0.0.1", 80], 5)
    assert audited["options"] == [[socket.SOL_SOCKET, socket.SO_REUSEADDR, 1]]


def test_batch_has_a_record_for_each_namespace_and_grant(
    make_namespace: Callable[..., str], start_broker: Callable[..., BrokerProcess]
) -> None:
    """Five sockets in three namespaces by two grants are four records of one request."""
    a, b, c = (make_namespace(label) for label in "abc")
    broker = start_broker(TWO_GRANTS)
    asked = [(a, TCP, "web"), (b, UDP, "dns"), (b, TCP, "web"), (c, UDP, "dns"), (a, TCP, "web")]
    _, cookies = as_user(USER, GROUP, _open, broker, [SocketSpec(name, *kind) for name, kind, _ in asked])
    expected: dict[tuple[str, str, int], list[int]] = {}
    for (name, _, grant), cookie in zip(asked, cookies, strict=True):
        expected.setdefault((name, grant, cookie_inside(name)), []).append(cookie)
    records = broker.audit()
    assert len(records) == 4
    assert expected == {
        (one["namespace"], one["grant"], one["netns"]): [sock["cookie"] for sock in one["sockets"]] for one in records
    }
    assert len({one["id"] for one in records}) == 1


def test_refusal_has_one_record_that_says_why(
    make_namespace: Callable[..., str], start_broker: Callable[..., BrokerProcess]
) -> None:
    """Denied by the policy, or failed in the kernel: one record, which socket it was, and no socket in it."""
    a, b = make_namespace("a"), make_namespace("b")
    broker = start_broker(TWO_GRANTS)
    good = [SocketSpec(a, *TCP), SocketSpec(b, *UDP)]
    cases = [
        (SocketSpec(a, *UDP), "denied", {"code": "denied", "namespace": a}),
        (SocketSpec(f"{PREFIX}c", *UDP), "failed", {"code": "no-such-namespace", "namespace": f"{PREFIX}c"}),
        (
            SocketSpec(a, *TCP, bind=("192.0.2.1", 8080)),
            "failed",
            {"code": "os-error", "errno": errno.EADDRNOTAVAIL, "namespace": a, "grant": "web"},
        ),
    ]
    for number, (bad, outcome, fields) in enumerate(cases, 1):
        assert as_user(USER, GROUP, _errno, broker, [*good, bad]) is not None
        record = broker.audit()[-1]
        assert len(broker.audit()) == number
        expected = fields | {"outcome": outcome, "uid": USER, "gid": GROUP, "index": 2}
        assert expected.items() <= record.items()
        assert record["reason"]
        assert record["asked"] == 3
        assert (record["socket"]["family"], record["socket"]["type"]) == (bad.family, bad.type)
        assert "sockets" not in record


def test_nothing_is_handed_out_that_can_not_be_audited(
    make_namespace: Callable[..., str], broker: BrokerProcess
) -> None:
    """With a full disk, the client hears that the broker is overloaded, and its address stays free for later."""
    name = make_namespace()
    spec = SocketSpec(name, *TCP, 0, ("127.0.0.1", 8080), 5)
    descriptors = broker.descriptors()
    broker.audit_path.unlink()
    broker.audit_path.symlink_to("/dev/full")
    broker.reload()
    for _ in range(3):
        with pytest.raises(nsbroker.BrokerUnavailableError, match="audit") as refused:
            _open(broker, [spec])
        assert refused.value.errno == errno.EAGAIN
        with nsbroker.Client(str(broker.socket_path)) as client, pytest.raises(nsbroker.BrokerUnavailableError):
            client.explain(spec)
    wait_until(lambda: broker.descriptors() == descriptors)
    broker.audit_path.unlink()
    broker.reload()
    _, cookies = _open(broker, [spec])
    assert _cookies(broker.audit()) == cookies


def test_list_has_a_record(broker: BrokerProcess) -> None:
    """The record says who was told of the namespaces and grants."""
    with nsbroker.Client(str(broker.socket_path)) as client:
        client.namespaces()
    (record,) = broker.audit()
    assert (record["audit"], record["outcome"], record["uid"]) == ("namespaces", "allowed", 0)


def test_lookup_has_a_record(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """Who was told by which files names are looked up, where, and by which grant."""
    name = make_namespace()
    with nsbroker.Client(str(broker.socket_path)) as client:
        client.resolver_files(name)
    (record,) = broker.audit()
    told = {key: record[key] for key in ("audit", "outcome", "uid", "pid", "namespace", "grant")}
    assert told == {
        "audit": "resolver",
        "outcome": "allowed",
        "uid": 0,
        "pid": os.getpid(),
        "namespace": name,
        "grant": "everything",
    }


@pytest.mark.parametrize("request_", [NamespacesRequest(1), ResolverRequest(1, "@host")])
def test_answer_that_can_not_be_audited_is_refused(broker: BrokerProcess, request_: Request) -> None:
    """Also if a task has made it, as for the list of namespaces."""
    broker.audit_path.unlink()
    broker.audit_path.symlink_to("/dev/full")
    broker.reload()
    with RawClient(broker) as client:
        refusal = client.refusal(request_)
        assert (refusal.code, refusal.request_id) == (OVERLOADED, 1)
        assert "the audit can't be written: No space left on device" in refusal.message


def test_refusals_that_were_counted_are_recorded_at_the_end(start_broker: Callable[..., BrokerProcess]) -> None:
    """The broker stops before a second is over."""
    broker = start_broker(TWO_GRANTS, "[quotas]\nrequests_per_second = 2\n")
    with RawClient(broker) as client:
        client.refusal(ResolverRequest(0, "@host"))
        with stopped(broker.pid):
            for number in range(1, 12):
                client.send(ResolverRequest(number, "@host"))
            os.kill(broker.pid, signal.SIGTERM)
        broker.stop()
    assert sum(record.get("count", 1) for record in broker.audit()) == 12


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with room for two pages, of which the file "ballast" takes one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={2 * PAGE}", "nsbroker-test", str(tmp_path)], check=True)
    (tmp_path / "ballast").write_bytes(b"x" * PAGE)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_audit_stays_readable_when_the_disk_was_full(
    make_namespace: Callable[..., str], broker: BrokerProcess, tiny_disk: Path
) -> None:
    """A record of which only a part fitted does not spoil those that come when there is room again."""
    specs = [SocketSpec(make_namespace(), *TCP)] * 3
    broker.audit_path.unlink()
    broker.audit_path.symlink_to(tiny_disk / "audit")
    broker.reload()
    cookies = []
    while cookies_of_one := _open_or_nothing(broker, specs):
        cookies += cookies_of_one
    (tiny_disk / "ballast").unlink()
    cookies += _open(broker, specs)[1] + _open(broker, specs)[1]
    assert _cookies([record for record in broker.audit_with_parts() if record]) == cookies


def test_audit_stays_readable_when_the_broker_was_killed(
    make_namespace: Callable[..., str], broker: BrokerProcess
) -> None:
    """A record that the broker could not finish is a line of its own when it writes again."""
    specs = [SocketSpec(make_namespace(), *TCP)]
    cookies = _open(broker, specs)[1]
    broker.kill()
    with broker.audit_path.open("a") as file:
        file.write('{"audit":"open","time":"20')
    broker.start()
    cookies += _open(broker, specs)[1]
    before, part, after = broker.audit_with_parts()
    assert before
    assert part is None
    assert after
    assert _cookies([before, after]) == cookies


def _cookies(records: list[dict[str, Any]]) -> list[int]:
    return [sock["cookie"] for record in records for sock in record.get("sockets", ())]


def _open_or_nothing(broker: BrokerProcess, specs: list[SocketSpec]) -> list[int]:
    try:
        return _open(broker, specs)[1]
    except nsbroker.BrokerUnavailableError:
        return []
