"""A request outside the policy is denied, with a reason that names the missing right, and with a line in the audit."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import BAD_REQUEST, DENIED, OS_ERROR, ErrorReply, OpenReply, OpenRequest
from support import namespaces
from support.brokers.process import BrokerProcess, running
from support.brokers.raw_client import TCP, UDP, RawClient
from support.namespaces import PREFIX, ip
from support.users import GROUP, OTHER_USER, UIDS, USER, as_user

PINGERS = UIDS[2]
NAME, MANAGEMENT = f"{PREFIX}blue", f"{PREFIX}management"

GRANTS = f"""
[[grant]]
name = "tenant"
users = [{USER}]
namespaces = ["{PREFIX}*", "!{MANAGEMENT}"]
sockets = ["tcp", "udp", "unix", "packet"]
bind = ["127.0.0.1:80", "[::1]:443", "*:8443"]
options = ["mark=0x10", "bind_device=*-tenant"]

[[grant]]
name = "pingers"
groups = [{PINGERS}]
namespaces = ["{NAME}"]
sockets = ["icmp"]
"""

V6 = (int(socket.AF_INET6), int(socket.SOCK_STREAM))
PACKET = (int(socket.AF_PACKET), int(socket.SOCK_RAW))
ICMP = (int(socket.AF_INET), int(socket.SOCK_DGRAM), 1)


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with running(GRANTS) as broker:
        yield broker


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("blue")


def ask(broker: BrokerProcess, uid: int, *specs: SocketSpec, groups: tuple[int, ...] = ()) -> object:
    """The reply to a request of this user."""
    request = OpenRequest(1, specs)
    return as_user(uid, uid, _ask, str(broker.socket_path), request, groups=(GROUP, *groups))


def _ask(path: str, request: OpenRequest) -> object:
    with RawClient(path) as client:
        return client.ask(request)


def with_option(level: int, name: int, value: int | bytes, namespace: str = NAME) -> SocketSpec:
    return SocketSpec(namespace, *TCP, options=((level, name, value),))


DENIALS: dict[str, tuple[int, SocketSpec, str]] = {
    "no grant": (OTHER_USER, SocketSpec(NAME, *TCP), f"no grant covers uid {OTHER_USER} or its groups"),
    "no grant for root either": (0, SocketSpec(NAME, *TCP), "no grant covers uid 0 or its groups"),
    "another namespace": (USER, SocketSpec(MANAGEMENT, *TCP), f"no grant of uid {USER} covers namespace"),
    "the host": (USER, SocketSpec("@host", *TCP), f"no grant of uid {USER} covers namespace '@host'"),
    "another kind": (USER, SocketSpec(NAME, *ICMP), "allows no icmp sockets in namespace"),
    "a kind that there is not": (USER, SocketSpec(NAME, 2, 3, 254), "no kind of socket that a grant can name"),
    "a family that there is not": (USER, SocketSpec(NAME, 45, 1), "no kind of socket that a grant can name"),
    "packets from the first moment": (USER, SocketSpec(NAME, *PACKET, 768), "no kind of socket"),
    "a low port": (USER, SocketSpec(NAME, *TCP, bind=("127.0.0.1", 443)), "port 443 of 127.0.0.1 is not in the bind"),
    "a low port elsewhere": (USER, SocketSpec(NAME, *TCP, bind=("0.0.0.0", 80)), "port 80 of 0.0.0.0"),
    "a low port of IPv6": (USER, SocketSpec(NAME, *V6, bind=("::", 443, 0, 0)), "port 443 of ::"),
    "a low port, mapped": (USER, SocketSpec(NAME, *V6, bind=("::ffff:127.0.0.2", 80, 0, 0)), "port 80 of ::ffff:"),
    "another mark": (USER, with_option(1, 36, 0x11), "grant 'tenant' does not allow option mark=0x11"),
    "another device": (USER, with_option(1, 25, b"lo"), "grant 'tenant' does not allow option bind_device=lo"),
    "a device within another's name": (USER, with_option(1, 25, b"lo\0-tenant"), "the broker does not set option"),
    "a device before another's name": (USER, with_option(1, 25, b"15-bytes-of-lo0-tenant"), "the broker does not"),
    "an option that no grant has": (USER, with_option(0, 19, 1), "grant 'tenant' does not allow option transparent"),
}  # fmt: skip


@pytest.mark.parametrize(("uid", "spec", "reason"), DENIALS.values(), ids=DENIALS)
def test_what_is_not_granted_is_denied_with_a_reason_and_audited(
    broker: BrokerProcess, uid: int, spec: SocketSpec, reason: str
) -> None:
    """One denied socket stops the whole request: the broker makes none of its sockets."""
    granted = SocketSpec(NAME, *UDP)
    specs = (granted, spec) if uid == USER else (spec,)
    reply = ask(broker, uid, *specs)
    assert isinstance(reply, ErrorReply), reply
    assert (reply.code, reply.spec_index) == (DENIED, len(specs) - 1)
    assert reason in reply.message
    record = broker.audit()[-1]
    assert (record["outcome"], record["uid"], record["gid"], record["code"]) == ("denied", uid, uid, DENIED)
    assert (record["reason"], record["namespace"]) == (reply.message, spec.namespace)


def test_grant_is_for_its_group(broker: BrokerProcess, name: str) -> None:
    """A supplementary group suffices, whatever the user and the primary group are."""
    spec = SocketSpec(NAME, *ICMP)
    ip("netns", "exec", NAME, "sh", "-c", "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range")
    assert isinstance(ask(broker, OTHER_USER, spec, groups=(PINGERS,)), OpenReply)
    reply = ask(broker, OTHER_USER, spec, groups=(PINGERS + 1,))
    assert isinstance(reply, ErrorReply)
    assert reply.code == DENIED
    assert [record.get("grant") for record in broker.audit()[-2:]] == ["pingers", None]


def test_what_is_granted_is_given(broker: BrokerProcess, name: str) -> None:
    """Each part of the grant works. Otherwise the refusals above would prove little."""
    reply = ask(
        broker,
        USER,
        SocketSpec(NAME, *TCP, bind=("127.0.0.1", 80)),
        SocketSpec(NAME, *V6, bind=("::1", 443, 0, 0)),
        SocketSpec(NAME, *TCP, bind=("0.0.0.0", 8080)),
        SocketSpec(NAME, *PACKET),
        with_option(1, 36, 0x10),
    )
    assert isinstance(reply, OpenReply), reply


NEVER_SET = {
    "SO_DEBUG": (1, 1), "SO_LINGER": (1, 13), "SO_PASSCRED": (1, 16), "SO_ATTACH_FILTER": (1, 26),
    "SO_SNDBUFFORCE": (1, 32), "SO_RCVBUFFORCE": (1, 33), "SO_LOCK_FILTER": (1, 44), "SO_BUSY_POLL": (1, 46),
    "SO_ATTACH_BPF": (1, 50), "SO_TXTIME": (1, 61), "SO_RCVMARK": (1, 75), "IP_HDRINCL": (0, 3), "IP_OPTIONS": (0, 4),
    "IP_IPSEC_POLICY": (0, 16), "IP_ADD_MEMBERSHIP": (0, 35), "IPT_SO_SET_REPLACE": (0, 64), "TCP_MD5SIG": (6, 14),
    "TCP_REPAIR": (6, 19), "TCP_ULP": (6, 31), "IPV6_RTHDR": (41, 57), "PACKET_FANOUT": (263, 18),
    "NETLINK_ADD_MEMBERSHIP": (270, 1),
}  # fmt: skip


def test_options_that_no_grant_can_name_are_never_set(start_broker: Callable[..., BrokerProcess]) -> None:
    """No user gets them, because the broker would carry out some of them with root's power."""
    broker = start_broker(
        '[[grant]]\nname = "all"\nusers = ["*"]\nnamespaces = ["@host"]\nsockets = ["tcp"]\n'
        'options = ["transparent", "mark=1", "bind_device=*"]\n'
    )
    with RawClient(broker) as client:
        for option in NEVER_SET.values():
            for value in (1, b"\x01\0\0\0"):
                refusal = client.refusal(OpenRequest(1, (with_option(*option, value, "@host"),)))
                assert refusal.code == DENIED, option
                assert "the broker does not set option" in refusal.message


def test_port_that_its_namespace_made_privileged_is_refused_unless_listed(broker: BrokerProcess, name: str) -> None:
    """The kernel refuses: the broker binds unlisted addresses without any capability."""
    ip("netns", "exec", NAME, "sh", "-c", "echo 9000 > /proc/sys/net/ipv4/ip_unprivileged_port_start")
    reply = ask(broker, USER, SocketSpec(NAME, *TCP, bind=("127.0.0.1", 8080)))
    assert isinstance(reply, ErrorReply)
    assert (reply.code, reply.errno) == (OS_ERROR, errno.EACCES)
    assert isinstance(ask(broker, USER, SocketSpec(NAME, *TCP, bind=("127.0.0.1", 8443))), OpenReply)
    assert isinstance(ask(broker, USER, SocketSpec(NAME, *TCP, bind=("127.0.0.1", 9000))), OpenReply)


def test_unix_socket_that_the_broker_shall_listen_on_is_refused(broker: BrokerProcess) -> None:
    """Its peers would take root for its owner."""
    reply = ask(broker, USER, SocketSpec(NAME, int(socket.AF_UNIX), 1, bind=b"name", listen=1))
    assert isinstance(reply, ErrorReply)
    assert reply.code == BAD_REQUEST


def test_two_packet_sockets_in_one_request_are_refused(broker: BrokerProcess) -> None:
    """Each takes 16 ms to close."""
    reply = ask(broker, USER, SocketSpec(NAME, *PACKET), SocketSpec(NAME, *PACKET))
    assert isinstance(reply, ErrorReply)
    assert (reply.code, reply.spec_index) == (BAD_REQUEST, None)
