"""If the kernel refuses a socket, the reply has its errno and the index, and the whole request is undone."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import MAX_SOCKETS, NO_SUCH_NAMESPACE, OS_ERROR, OpenReply, OpenRequest
from nsbrokerd.policy.kinds import KIND_OF_TRIPLE
from support import namespaces
from support.brokers.process import BrokerProcess, running
from support.brokers.raw_client import TCP, UDP, RawClient
from support.namespaces import PREFIX, ip
from support.process_state import idle_descriptors
from support.users import GROUP, USER, as_user

GRANTS = f"""
[[grant]]
name = "most"
users = ["*"]
namespaces = ["{PREFIX}*", "@host"]
sockets = ["tcp", "udp", "udplite", "mptcp", "sctp", "icmp", "packet", "unix", "netlink:route"]
bind = ["*:*"]
options = ["bind_device=*"]
"""
NAME = f"{PREFIX}errors"
REUSE = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

REFUSED = {
    "address not available": (SocketSpec(NAME, *TCP, bind=("192.0.2.1", 80)), errno.EADDRNOTAVAIL),
    "scope that does not exist": (SocketSpec(NAME, 10, 1, bind=("fe80::1", 80, 0, 4711)), errno.ENODEV),
    "listening on what can't": (SocketSpec(NAME, *UDP, bind=("127.0.0.1", 0), listen=1), errno.EOPNOTSUPP),
    "interface that does not exist": (SocketSpec(NAME, 17, 3, bind=("eth9", 3)), errno.ENODEV),
    "device that does not exist": (SocketSpec(NAME, *TCP, options=((1, 25, b"eth9"),)), errno.ENODEV),
    "option of another protocol": (SocketSpec(NAME, *UDP, options=((41, 26, 1),)), errno.ENOPROTOOPT),
    "option that needs privileges": (SocketSpec(NAME, *TCP, options=((1, 12, 7),)), errno.EPERM),
    "option whose value is too short": (SocketSpec(NAME, *TCP, options=((1, 2, b""),)), errno.EINVAL),
    "option with all bits set": (SocketSpec(NAME, *TCP, options=((1, 12, 2**32 - 1),)), errno.EPERM),
}


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with running(GRANTS) as broker:
        yield broker


@pytest.fixture(autouse=True)
def _namespace(make_namespace: Callable[..., str]) -> None:
    assert make_namespace("errors") == NAME


def ask_for(*specs: SocketSpec) -> OpenRequest:
    return OpenRequest(1, specs)


@pytest.mark.parametrize(("spec", "number"), REFUSED.values(), ids=REFUSED)
def test_errno_is_the_kernels_and_the_index_the_sockets(broker: BrokerProcess, spec: SocketSpec, number: int) -> None:
    good = SocketSpec(NAME, *TCP, bind=("127.0.0.1", 80), listen=1)
    with RawClient(broker) as client:
        refusal = client.refusal(ask_for(good, SocketSpec("@host", *UDP), spec, good))
        assert (refusal.code, refusal.errno, refusal.spec_index) == (OS_ERROR, number, 2)
        assert refusal.message == os.strerror(number)
        assert isinstance(client.ask(ask_for(good)), OpenReply)
    record = broker.audit()[-2]
    assert (record["outcome"], record["errno"], record["index"]) == ("failed", number, 2)


@pytest.mark.parametrize("listens", [True, False])
def test_address_in_use(broker: BrokerProcess, listens: bool) -> None:
    """Whether another client has it, or another socket of the same request."""
    spec = SocketSpec(NAME, *TCP, bind=("127.0.0.1", 80), listen=1 if listens else None)
    with RawClient(broker) as client, RawClient(broker) as other:
        refusal = client.refusal(ask_for(spec, spec))
        assert (refusal.errno, refusal.spec_index) == (errno.EADDRINUSE, 1)
        assert isinstance(other.ask(ask_for(spec)), OpenReply)
        refusal = client.refusal(ask_for(spec))
        assert (refusal.errno, refusal.spec_index) == (errno.EADDRINUSE, 0)


def test_protocol_that_this_kernel_lacks_has_the_kernels_errno(broker: BrokerProcess) -> None:
    """It is the errno of socket(2), for each kind of socket."""
    with RawClient(broker) as client:
        for triple, kind in KIND_OF_TRIPLE.items():
            if kind not in GRANTS:
                continue
            try:
                socket.socket(*triple).close()
                number = None
            except OSError as error:
                number = error.errno
            reply = client.ask(ask_for(SocketSpec("@host", *triple)))
            assert getattr(reply, "errno", None) == number, (kind, reply)


@pytest.mark.parametrize("triple", [(2, 2, 1), (10, 2, 58)])
def test_ping_socket_that_nobody_may_have_names_the_sysctl(broker: BrokerProcess, triple: tuple[int, int, int]) -> None:
    """A new namespace admits no group to them. The range that the message asks for is enough."""
    with RawClient(broker) as client:
        refusal = client.refusal(ask_for(SocketSpec(NAME, *triple)))
        assert refusal.errno == errno.EACCES
        assert refusal.message == (
            "Permission denied: net.ipv4.ping_group_range of the namespace must include 0, the broker's group"
        )
        ip("netns", "exec", NAME, "sh", "-c", "echo 0 0 > /proc/sys/net/ipv4/ping_group_range")
        assert isinstance(client.ask(ask_for(SocketSpec(NAME, *triple))), OpenReply)


def test_family_without_addresses_in_its_namespace(broker: BrokerProcess) -> None:
    """IPv6 switched off there, and on in the broker's own namespace."""
    ip("netns", "exec", NAME, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    spec = SocketSpec(NAME, 10, 1, bind=("::1", 80, 0, 0))
    with RawClient(broker) as client:
        assert client.refusal(ask_for(spec)).errno == errno.EADDRNOTAVAIL


def test_nothing_is_kept_of_a_request_whose_last_socket_fails(broker: BrokerProcess) -> None:
    """No descriptor in the broker nor in the client, and the addresses are free again."""
    listeners = [SocketSpec(NAME, *TCP, bind=("127.0.0.1", 1000 + i), listen=1) for i in range(MAX_SOCKETS - 1)]
    with RawClient(broker) as client:
        assert client.works()
        before = idle_descriptors(broker.pid)
        for last in (REFUSED["address not available"][0], SocketSpec(f"{NAME}2", *TCP)):
            refusal = client.refusal(ask_for(*listeners, last))
            assert refusal.spec_index == MAX_SOCKETS - 1
            assert refusal.code == (OS_ERROR if last.namespace == NAME else NO_SUCH_NAMESPACE)
            assert idle_descriptors(broker.pid) == before
        reply = client.ask(ask_for(*listeners))
        assert isinstance(reply, OpenReply)
        assert [one.address for one in reply.sockets] == [spec.bind for spec in listeners]
        assert idle_descriptors(broker.pid) == before


def test_order_of_the_sockets_is_that_of_the_request(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """Though each namespace is entered once: names, cookies and indices are where they belong."""
    second = make_namespace("second")
    specs = [SocketSpec((NAME, second)[i % 2], *TCP, bind=("127.0.0.1", 2000 + i)) for i in range(10)]
    with RawClient(broker) as client:
        refusal = client.refusal(ask_for(*specs, specs[3]))
        assert (refusal.errno, refusal.spec_index) == (errno.EADDRINUSE, 10)
        reply = client.ask(ask_for(*specs))
        assert isinstance(reply, OpenReply)
        assert [one.address for one in reply.sockets] == [spec.bind for spec in specs]
        found = [socket.socket(fileno=os.dup(fd)) for fd in client.fds]
        assert [sock.getsockname() for sock in found] == [spec.bind for spec in specs]
        for sock in found:
            sock.close()


def test_unprivileged_option_is_set_with_the_clients_rights(broker: BrokerProcess) -> None:
    """For root's own client as well: the broker lends its power only by a grant."""
    spec = REFUSED["option that needs privileges"][0]

    def errno_of_refusal(path: str) -> int | None:
        with RawClient(path) as client:
            return client.refusal(ask_for(spec)).errno

    for uid in (0, USER):
        assert as_user(uid, GROUP, errno_of_refusal, str(broker.socket_path)) == errno.EPERM
