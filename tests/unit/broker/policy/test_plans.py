"""From a packet to a plan or a refusal."""

from __future__ import annotations

import socket

from nsbroker.wire import NamespacesRequest, OpenRequest, SocketSpec, named_descriptors
from nsbrokerd.policy import Grant, NamespaceRule, Policy, Subject
from nsbrokerd.policy.plans import Plan, Refusal, plan

WHO = Subject(1000, frozenset())
TCP = (int(socket.AF_INET), int(socket.SOCK_STREAM))
EVERYTHING = Policy(
    (
        Grant(
            "g",
            None,
            frozenset(),
            NamespaceRule.parse(["*", "@own"]),
            frozenset({"tcp", "unix", "packet", "netlink:route"}),
        ),
    )
)


def ask(*specs: SocketSpec, policy: Policy = EVERYTHING, sent: dict[int, list[str]] | None = None) -> Plan | Refusal:
    return plan(specs, policy, WHO, sent or {})


def test_a_request_tells_how_many_descriptors_it_brings() -> None:
    assert named_descriptors(NamespacesRequest(3)) == 0
    assert named_descriptors(OpenRequest(1, (SocketSpec(1, *TCP), SocketSpec("blue", *TCP), SocketSpec(0, *TCP)))) == 2


def test_sockets_are_grouped_by_namespace_and_keep_their_places() -> None:
    planned = ask(SocketSpec("a", *TCP), SocketSpec("b", *TCP), SocketSpec("a", *TCP))
    assert not isinstance(planned, Refusal)
    assert [(group.namespace, [one.position for one in group.sockets]) for group in planned] == [
        ("a", [0, 2]),
        ("b", [1]),
    ]


def test_the_first_refused_socket_is_named_and_nothing_is_planned() -> None:
    refused = ask(SocketSpec("a", *TCP), SocketSpec("a", socket.AF_INET, socket.SOCK_DGRAM))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.spec_index, refused.namespace) == ("denied", 1, "a")


def test_only_known_triples_are_planned() -> None:
    for triple in ((2, 1, 17), (2, 2, 200), (31, 3, 0), (17, 3, 3), (17, 3, 768), (16, 3, 30), (2, 3, 0), (40, 1, 0)):
        refused = ask(SocketSpec("a", *triple))
        assert isinstance(refused, Refusal)
        assert refused.code == "denied"
        assert "no kind of socket" in refused.message


def test_nonblocking_is_no_part_of_the_kind() -> None:
    planned = ask(SocketSpec("a", socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
    assert not isinstance(planned, Refusal)
    assert planned[0].sockets[0].kind == "tcp"


def test_a_unix_socket_never_listens_for_the_client() -> None:
    refused = ask(SocketSpec("a", socket.AF_UNIX, socket.SOCK_STREAM, bind=b"x", listen=5))
    assert isinstance(refused, Refusal)
    assert refused.code == "bad-request"


def test_a_request_gets_one_packet_socket_at_most() -> None:
    one = SocketSpec("a", socket.AF_PACKET, socket.SOCK_RAW)
    assert not isinstance(ask(one), Refusal)
    refused = ask(one, one._replace(namespace="b"))
    assert isinstance(refused, Refusal)
    assert refused.code == "bad-request"


def test_a_sent_namespace_is_decided_by_the_names_that_it_goes_by() -> None:
    planned = ask(SocketSpec(0, *TCP), sent={0: ["blue", "alias"]})
    assert not isinstance(planned, Refusal)
    assert planned[0].label == "descriptor:blue=alias"
    assert isinstance(ask(SocketSpec(0, *TCP), sent={0: []}), Refusal)
    assert isinstance(ask(SocketSpec(0, *TCP), sent={0: ["@host"]}), Refusal)
    assert not isinstance(ask(SocketSpec(0, *TCP), sent={0: ["@own"]}), Refusal)
